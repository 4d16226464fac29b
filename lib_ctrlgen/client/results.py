"""What a generation on a WebUI gave, and how far it is."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lib_ctrlgen.request.notices import KEY, warnings_in

from .errors import NotAWebUIError
from .pictures import Picture

STRIPS = "trajectory"  # the blend mode with a strip for each batch


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The pictures of a generation.

    pictures      with infotext and seed each, in their order
    sheets        the strips or the map of a blend
    control_maps  what the networks saw, and whatever other extensions append
    warnings      of CtrlGen
    info          the WebUI's own record of the generation: `all_seeds`, `sd_model_hash`, ...
    """

    pictures: tuple[Picture, ...]
    sheets: tuple[Picture, ...] = ()
    control_maps: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return tuple(each.seed for each in self.pictures if each.seed is not None)

    @property
    def infotexts(self) -> tuple[str, ...]:
        """The infotext of each picture."""
        return tuple(each.infotext for each in self.pictures)


def generated(url: str, answer: Any, controls: Mapping[str, Any]) -> Generated:
    """The pictures in an answer of txt2img or img2img; `controls` is CtrlGen's request as JSON types.

    The first pictures are those that were generated, and have an infotext in their file; they are followed by
    the sheets of a blend and the control maps. Raises NotAWebUIError.
    """
    try:
        info = json.loads(answer["info"])
        texts, seeds = list(info["infotexts"]), list(info["all_seeds"])
        first = int(info.get("index_of_first_image", 0))
        files = [Picture.of(text) for text in answer["images"] or []][first:]
        count = picture_count(files, len(seeds))
    except (ValueError, KeyError, TypeError) as error:
        raise NotAWebUIError(url, f"the answer has no pictures ({error!r})") from error
    made = [
        Picture(data=each.data, infotext=text, seed=int(seed))
        for each, text, seed in zip(files, texts[first:], seeds, strict=False)
    ][:count]
    others = files[len(made) :]
    sheets = sheet_count(controls.get("blend"), len(made), int(info.get("batch_size", 1)))
    recorded = info.get("extra_generation_params", {}).get(KEY)
    return Generated(
        pictures=tuple(made),
        sheets=tuple(others[:sheets]),
        control_maps=tuple(others[sheets:]),
        warnings=warnings_in(recorded, range(len(recorded) if isinstance(recorded, list) else 0)),
        info=info,
    )


def picture_count(files: Sequence[Picture], seeds: int) -> int:
    """How many of the files are pictures that were generated: those with an infotext, else one per seed.

    An interrupted generation has fewer pictures than seeds.
    """
    marked = 0
    for each in files[:seeds]:
        with Image.open(io.BytesIO(each.data)) as image:
            marked += "parameters" in image.info
    return marked or min(seeds, len(files))


def sheet_count(blend: Any, pictures: int, batch: int) -> int:
    """The number of sheets that a blend adds to its pictures."""
    if not isinstance(blend, Mapping):
        return 0
    if blend.get("explore"):
        return 1
    return pictures // max(1, batch) if blend.get("mode") == STRIPS else 0


@dataclass(frozen=True, kw_only=True)
class Detected:
    """A control map, the pose in the picture as OpenPose JSON (None for none), and the call's warnings."""

    map: Picture
    pose: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a WebUI is.

    busy          whether a generation runs
    share         of the work that is done, 0 to 1
    seconds_left  an estimate
    step, steps   of the sampler, in the current pass
    job           what runs, in the WebUI's words
    interrupted   whether it was interrupted
    preview       the current picture, if it was asked for and there is one
    """

    busy: bool
    share: float
    seconds_left: float
    step: int
    steps: int
    job: str
    interrupted: bool
    preview: Picture | None = None


def progress_of(url: str, answer: Any) -> Progress:
    """The progress in an answer of /sdapi/v1/progress. Raises NotAWebUIError."""
    try:
        state, shown = answer["state"], answer.get("current_image")
        return Progress(
            busy=int(state["job_count"]) != 0,
            share=min(1.0, max(0.0, float(answer["progress"]))),
            seconds_left=max(0.0, float(answer["eta_relative"])),
            step=int(state["sampling_step"]),
            steps=int(state["sampling_steps"]),
            job=str(state["job"]),
            interrupted=bool(state["interrupted"]),
            preview=Picture.of(shown) if shown else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAWebUIError(url, f"the answer is no progress of a WebUI ({error!r})") from error
