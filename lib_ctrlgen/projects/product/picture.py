"""Makes one picture of the product, through the job file that lies beside it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.files import save_picture, save_text
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.outputs import picture_infos
from lib_ctrlgen.headless.sampling.run import Progress
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.backdrop import Mask
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.projects.control_models import Controls
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.tuner.scoring.clip_likeness import plain_text

from .environments import Environment
from .identity import Box, Identity
from .placement import placed
from .settings import ProductSettings, as_inputs, peak
from .training import ProductAdapter

PICTURE, JOB, DEPTH, REFERENCE = "picture.png", "job.yaml", "depth.png", "reference.png"
VERSION = 1  # of placement and likeness: raise it when they change, and all pictures are made again
PARAGRAPH = """\
# {name}, made by `ctrlgen product`. To make it again, exactly:
#     ctrlgen run {job} --out pictures
"""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture that is to be made: an environment and a seed. `identity` False leaves the adapter out."""

    environment: Environment
    number: int
    seed: int
    identity: bool = True

    @property
    def name(self) -> str:
        """The name of its folder."""
        text = self.environment.name if self.number == 0 else f"{self.environment.name}--{self.number + 1}"
        return text if self.identity else f"{text}--without"


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographer:
    """Makes pictures with the same product, adapter and settings.

    silhouette  where the product is in a view, [H, W]; None places it nowhere
    reference   the product, cut out
    views       the hashes of the views that likeness is measured against
    """

    engine: Engine
    settings: ProductSettings
    controls: Controls
    adapter: ProductAdapter
    silhouette: Mask | None
    reference: Image.Image
    identity: Identity
    views: tuple[str, ...]

    @property
    def side(self) -> int:
        """The side of the pictures in pixels."""
        return self.settings.side(self.controls.size)

    def make(self, shot: Shot, folder: Path, final: Path, progress: Progress | None = None) -> dict[str, Any]:
        """Make a picture and write its files into `folder`; returns its record.

        The folder is renamed to `final` afterwards, which is the path that the job file names.

        Raises RequestError and HostError.
        """
        payload, box = self.write_inputs(shot, folder)
        head = PARAGRAPH.format(name=shot.name, job=final / JOB)
        request = read_job(save_text(head + yaml_text(payload), folder / JOB)).request
        generation = self.engine.generate(request, progress)
        picture = generation.images[0]
        save_picture(picture, folder / PICTURE, picture_infos(generation.request, generation)[0])
        return self.record(shot, generation, box)

    def write_inputs(self, shot: Shot, folder: Path) -> tuple[dict[str, Any], Box | None]:
        """Write the control pictures; returns the request as JSON types, and the product's box."""
        box, units = None, []
        if self.silhouette is not None:
            where = placed(shot.environment, self.silhouette, self.side)
            box = where.box
            file = self.controls.file("depth")
            if file is not None and peak(self.settings.placement) > 0:
                save_picture(where.depth, folder / DEPTH)
                units.append({"model": file.name, "image": DEPTH, "weight": self.settings.placement})
        if shot.identity and peak(self.settings.identity) > 0:
            save_picture(self.reference, folder / REFERENCE)
            units.append(
                {"model": str(self.adapter.path), "image": REFERENCE, "weight": self.settings.identity}
            )
        return payload_of(self.settings, shot, self.side, units), box

    def record(self, shot: Shot, generation: Generation, box: Box | None) -> dict[str, Any]:
        """What is kept of a picture as JSON types."""
        picture, prompt = generation.images[0], generation.request.prompt
        host = EngineHost(engine=self.engine)
        text = plain_text(prompt, generation.request.prompt_weights)
        scores = self.identity.likeness.prompt(picture, text, host.text_encoder(generation.request))
        return {
            "name": shot.name,
            "environment": shot.environment.name,
            "prompt": prompt,
            "seed": generation.seeds[0],
            "place": to_payload(shot.environment, whole=True),
            "settings": as_inputs(self.settings),
            "box": None if box is None else list(box),
            "likeness": round(self.identity.of_picture(picture, box), 4),
            "prompt_likeness": round(scores.values["prompt"], 4) if scores.values else None,
            "seconds": round(generation.seconds, 3),
            "warnings": list(generation.warnings),
            "made": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        }

    def inputs(self, shot: Shot) -> dict[str, Any]:
        """All that a picture depends on, as JSON types: equal inputs give the same picture."""
        settings = {k: v for k, v in as_inputs(self.settings).items() if k not in {"count", "seed"}}
        environment = to_payload(shot.environment, whole=True)
        depth = shot.environment.depth
        return {
            "settings": settings,
            "side": self.side,
            "environment": environment | {"depth": image_file_hash(depth), "name": ""},
            "seed": shot.seed,
            "adapter": self.adapter.digest if shot.identity else "",
            "reference": image_hash(self.reference),
            "silhouette": "" if self.silhouette is None else image_hash(Image.fromarray(self.silhouette)),
            "encoder": self.identity.encoder,
            "views": list(self.views),
            "version": VERSION,
        }


def payload_of(
    settings: ProductSettings, shot: Shot, side: int, units: list[dict[str, Any]]
) -> dict[str, Any]:
    """The request for a picture as JSON types; `units` are its controls."""
    payload = {
        "model": settings.model,
        "prompt": shot.environment.prompt_for(settings.product),
        "negative_prompt": settings.negative,
        "width": side,
        "height": side,
        "steps": settings.steps,
        "cfg_scale": settings.guidance,
        "sampler": settings.sampler,
        "seed": shot.seed,
        "units": units,
    }
    return {name: value for name, value in payload.items() if value != ""}


def image_file_hash(path: str) -> str:
    """The hash of a picture file's pixels; empty without a path."""
    if not path:
        return ""
    with Image.open(path) as picture:
        return image_hash(picture)
