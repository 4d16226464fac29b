"""The WebUI as the tuner's host: every cell is a generation of the WebUI's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from modules import processing, shared
from msgspec import Meta, field
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.schedule import Schedule, constant
from lib_ctrlgen.spec import ControlRequest, parse_request, to_payload
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.likeness import picture_scores
from lib_ctrlgen.tuner.scores import Scores
from lib_ctrlgen.tuner.work import Made

from .settings import model_store

NO_PROMPT_SCORE = "likeness to the prompt is scored by `ctrlgen tune` only"

# The fields that are the WebUI's own, each with its name in `p`.
OWN = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "steps",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "width": "width",
    "height": "height",
    "denoising_strength": "denoising_strength",
}


def _seven() -> Schedule:
    return constant(7.0)


class TunedRequest(ControlRequest, frozen=True, kw_only=True):
    """A generation of the WebUI as the tuner's axes see it; `model` is the checkpoint."""

    prompt: str = ""
    negative_prompt: str = ""
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    cfg_scale: Annotated[Schedule, Meta(extra_json_schema={"default": 7})] = field(default_factory=_seven)
    sampler: str = ""
    scheduler: str = ""
    width: Annotated[int, Meta(ge=64, le=4096)] = 512
    height: Annotated[int, Meta(ge=64, le=4096)] = 512
    denoising_strength: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    batch_size: Annotated[int, Meta(ge=1, le=64)] = 1
    model: str = ""


def payload_of(p: Any, request: ControlRequest) -> dict[str, Any]:
    """What `p` and the always-on script's request say, as the payload that axes change.

    Raises RequestError for what a tuner cannot run.
    """
    if int(p.n_iter) * int(p.batch_size) != 1:
        raise RequestError("$.tune.seeds", "set batch count and size to 1: `seeds` says how many pictures")
    own = {name: getattr(p, attribute, None) for name, attribute in OWN.items()}
    seed = processing.get_fixed_seed(p.seed)
    scale = {} if request.cfg_scale else {"cfg_scale": float(p.cfg_scale)}
    said = {name: value for name, value in own.items() if value is not None}
    return to_payload(request) | said | scale | {"seed": int(seed)}


@dataclass
class WebUIHost:
    """Makes and judges pictures with the WebUI. `place` is where the always-on script's arguments begin."""

    p: Any
    place: int

    def batch(self, payload: Mapping[str, Any], seeds: int) -> TunedRequest:
        """A cell's request with as many pictures as there are seeds. Raises RequestError."""
        request: TunedRequest = parse_request(dict(payload), TunedRequest)
        return replace(request, batch_size=seeds) if seeds > 1 else request

    def alike(self, request: TunedRequest) -> str:
        """What requests must have in common to be made together."""
        return key_of(to_payload(request, whole=True))

    def generate(self, requests: Sequence[TunedRequest]) -> list[Made]:
        """Make the pictures of requests that are alike."""
        return [self.made(request) for request in requests]

    def made(self, request: TunedRequest) -> Made:
        """Run a generation. KeyboardInterrupt when the user stopped it."""
        processed = processing.process_images(self.generation(request))
        if shared.state.interrupted or shared.state.stopping_generation:
            raise KeyboardInterrupt
        first = int(processed.index_of_first_image)
        images = processed.images[first : first + request.batch_size]
        if len(images) < request.batch_size:
            raise HostError(f"{len(images)} pictures came back, {request.batch_size} were asked for")
        texts = processed.infotexts[first : first + request.batch_size]
        return Made(
            images=tuple(images), seeds=tuple(map(int, processed.all_seeds)), infos=tuple(map(_info, texts))
        )

    def generation(self, request: TunedRequest) -> Any:
        """A copy of `p` that says what the request says."""
        made = copy(self.p)
        made.styles = list(self.p.styles or [])
        made.override_settings = dict(self.p.override_settings)
        for name, attribute in OWN.items():
            value = getattr(request, name)
            if value not in (None, ""):
                setattr(made, attribute, value)
        if request.model:
            made.override_settings["sd_model_checkpoint"] = request.model
        made.seed, made.batch_size, made.n_iter = request.seed, request.batch_size, 1
        made.do_not_save_samples = made.do_not_save_grid = True
        made.extra_generation_params = dict(self.p.extra_generation_params)
        flat = request.cfg_scale.constant
        made.cfg_scale = request.cfg_scale(0.0) if flat is None else flat
        args = list(self.p.script_args)
        args[self.place] = control_payload(request)
        made.script_args = args
        return made

    def scores(self, picture: Image.Image, free: Image.Image | None, request: TunedRequest) -> Scores:
        """Every score of a picture."""
        return picture_scores(picture, free, request, model_store()) | Scores({}, {"prompt": NO_PROMPT_SCORE})


def control_payload(request: TunedRequest) -> dict[str, Any]:
    """The part of a request that the always-on script reads."""
    payload = to_payload(request)
    kept = {name: payload[name] for name in ControlRequest.__struct_fields__ if name in payload}
    if request.cfg_scale.constant is not None:
        kept.pop("cfg_scale", None)  # the WebUI's own number says it
    return kept


def _info(text: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt("parameters", text)
    return info


def folder_of(p: Any, name: str, key: str) -> Path:
    """Where a tuner writes: a named folder beside the WebUI's pictures, so that it can be gone on with.

    Raises RequestError for a name that leaves the folder.
    """
    root = Path(p.outpath_grids) / "ctrlgen-tuner"
    folder = root / (name or key)
    if name and (Path(name).name != name or name in {".", ".."}):
        raise RequestError("$.tune.name", "a plain folder name, without slashes")
    return folder
