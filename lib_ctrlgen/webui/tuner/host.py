"""The WebUI as the tuner's host: each cell, or batch of cells, is an ordinary generation of the WebUI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from modules import devices, processing, shared
from msgspec import Meta, field
from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import png_text, read_picture
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.request.batching import RequestBatch, alike
from lib_ctrlgen.request.notices import KEY, warnings_in
from lib_ctrlgen.request.schedule import Schedule, constant
from lib_ctrlgen.request.spec import ControlRequest, parse_request, to_payload
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.check import Checker
from lib_ctrlgen.tuner.open_seed import require_seeds
from lib_ctrlgen.tuner.scoring.clip_likeness import ClipTextEncoder, Likeness, plain_text
from lib_ctrlgen.tuner.scoring.measure import ScoreInputs, measure_all
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import CellPictures
from lib_ctrlgen.webui.comments import texts_without_comments
from lib_ctrlgen.webui.sampling.cell_batch import CellBatch
from lib_ctrlgen.webui.sampling.decode_cache import decoded_once
from lib_ctrlgen.webui.settings import model_store, offloads

from .name_check import check_names, sampler_names

SKIPPED = "skipped before it was finished; the next run with the same folder name makes it"
ADAPTIVE = ("dpm adaptive",)  # samplers that look at a whole batch to choose their next step

# Fields of a cell that the WebUI has itself, with the name of each in `p`.
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


# Settings of the WebUI that change the pictures.
SETTINGS = (
    "sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers", "emphasis", "randn_source",
    "eta_noise_seed_delta", "use_old_scheduling", "sd_vae_encode_method", "sd_vae_decode_method",
)  # fmt: skip
PLAIN = (str, int, float, bool, list, tuple, dict)
# Attributes of `p` that do not change the pictures, or that are part of a cell in another form.
NOT_THE_PICTURE = (
    "seed", "batch_size", "n_iter", "cfg_scale", "script_args", "script_args_value", "outpath_samples",
    "outpath_grids", "do_not_save_samples", "do_not_save_grid", "extra_generation_params", "comments", "user",
    "init_images", "image_mask",
)  # fmt: skip


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
    host: str = ""  # see `fingerprint`


def payload_of(p: Any, request: ControlRequest) -> dict[str, Any]:
    """Return a generation and its control request as one payload, which the axes change.

    Raises RequestError for what a tuner cannot run.
    """
    if int(p.n_iter) * int(p.batch_size) != 1:
        raise RequestError("$.tune.seeds", "set batch count and size to 1: 'seeds' says how many pictures")
    own = {name: getattr(p, attribute, None) for name, attribute in OWN.items()}
    seed = processing.get_fixed_seed(p.seed)
    scale = {} if request.cfg_scale else {"cfg_scale": float(p.cfg_scale)}
    given = {name: value for name, value in own.items() if value is not None}
    return to_payload(request) | given | scale | {"seed": int(seed), "host": fingerprint(p)}


def fingerprint(p: Any) -> str:
    """Return a hash of everything else that the pictures depend on, in `p` and in the settings."""
    found = {
        name: value
        for name, value in vars(p).items()
        if isinstance(value, PLAIN) and not name.startswith("cached_")
    }
    for name in (*OWN.values(), *NOT_THE_PICTURE):
        found.pop(name, None)
    if not found.get("subseed_strength"):
        found.pop("subseed", None)
    pictures = [*(getattr(p, "init_images", None) or ()), getattr(p, "image_mask", None)]
    found["pictures"] = [image_hash(each) for each in pictures if isinstance(each, Image.Image)]
    found["settings"] = {name: getattr(shared.opts, name, None) for name in SETTINGS}
    return key_of({"said": json.dumps(found, sort_keys=True, default=str)})  # this key is part of the hash


@dataclass
class WebUIHost:
    """Makes and scores pictures with the WebUI. `place` is the index of the always-on script's arguments.

    `encoder_name` names the CLIP vision encoder that measures likeness; if it is empty, one is chosen.
    """

    p: Any
    place: int
    subseed: int = 0
    encoder_name: str = ""
    recommended: ClassVar[str] = "recommended.txt"
    use: ClassVar[str] = (
        "Paste it into the prompt and press the arrow below Generate: it sets prompt, settings and units. "
        "The units' pictures stay as they are in the panel."
    )

    @cached_property
    def checker(self) -> Checker:
        """Checks controls against the WebUI's models."""
        return Checker(model_store())

    @cached_property
    def likeness(self) -> Likeness:
        """Measures likeness with the WebUI's models. Raises RequestError."""
        return Likeness.of(model_store(), self.encoder_name)

    @property
    def encoder(self) -> str:
        """The CLIP vision encoder that measures likeness, `name [hash]`. Raises RequestError."""
        return self.likeness.label

    def recipe(self, request: TunedRequest, folder: Path, files: Sequence[str]) -> str:
        """Return the infotext of the cell's first picture."""
        del request
        picture = read_picture(folder / files[0]) if files else None
        return "" if picture is None else str(picture.info.get("parameters", ""))

    def batch(self, payload: Mapping[str, Any], seeds: int) -> TunedRequest:
        """Return a cell's request with one picture for each of `seeds` seeds. Raises RequestError."""
        request = require_seeds(parse_request(dict(payload), TunedRequest))
        check_names(request)
        self.checker.check(request)
        return replace(request, batch_size=seeds) if seeds > 1 else request

    def alike(self, request: TunedRequest) -> str:
        """Return a key; requests with equal keys can be made in one batch."""
        alone = request.sampler.lower() in ADAPTIVE or (request.blend and request.blend.mode == "seeds")
        shared_part = None if alone else alike(request)
        return key_of(to_payload(shared_part or request, whole=True))

    def generate(self, requests: Sequence[TunedRequest]) -> list[CellPictures]:
        """Run one generation for requests with equal keys. Raises KeyboardInterrupt if the user stops it."""
        batch = batch_of(requests)
        generation = self.generation(batch)
        with decoded_once(shared.sd_model):
            processed = processing.process_images(generation)
        if shared.state.interrupted or shared.state.stopping_generation:
            raise KeyboardInterrupt
        if shared.state.skipped:
            raise HostError(SKIPPED)
        first, count = int(processed.index_of_first_image), batch.pictures
        images = processed.images[first : first + count]
        if len(images) < count:
            raise HostError(f"the WebUI returned {len(images)} pictures instead of {count}")
        infos = [png_text(text) for text in processed.infotexts[first : first + count]]
        seeds = [int(seed) for seed in processed.all_seeds]
        warnings = generation.extra_generation_params.get(KEY)
        return [
            CellPictures(
                images=tuple(images[place] for place in places),
                seeds=tuple(seeds[place] for place in places),
                infos=tuple(infos[place] for place in places),
                warnings=warnings_in(warnings, places),
            )
            for places in batch.per_request(range(count))
        ]

    def generation(self, batch: RequestBatch[TunedRequest]) -> Any:
        """Return a copy of `p` with the values of a batch."""
        made, request = copy(self.p), batch.shared
        made.styles = list(self.p.styles or [])
        made.override_settings = dict(self.p.override_settings)
        for name, attribute in OWN.items():
            value = getattr(request, name)
            if value not in (None, ""):
                setattr(made, attribute, value)
        if request.sampler:
            made.sampler_name, scheduler = sampler_names(request.sampler, request.scheduler)
            made.scheduler = scheduler or getattr(self.p, "scheduler", None)
        if request.model:
            made.override_settings["sd_model_checkpoint"] = request.model
        made.n_iter, made.batch_size = 1, batch.pictures
        made.seed, made.subseed = self.seeds(batch)
        made.do_not_save_samples = made.do_not_save_grid = True
        made.extra_generation_params = dict(self.p.extra_generation_params)
        made.cfg_scale = flat_scale(request)
        args = list(self.p.script_args)
        args[self.place] = cell_batch(batch) if batch.cells > 1 else control_payload(request)
        made.script_args = args
        return made

    def seeds(self, batch: RequestBatch[TunedRequest]) -> tuple[Any, Any]:
        """Return the seed and variation seed of one request, or lists of those of each picture of several."""
        if batch.cells == 1:
            return batch.shared.seed, self.subseed
        places = [(request.seed, k) for request in batch.requests for k in range(request.batch_size)]
        counts = not self.p.subseed_strength
        return [seed + k * counts for seed, k in places], [self.subseed + k for _, k in places]

    def scores(self, picture: Image.Image, free: Image.Image | None, request: TunedRequest) -> Scores:
        """Return all scores of a picture; `free` is the uncontrolled one, if it was made."""
        read = texts_without_comments({"prompt": request.prompt}, self.p.scripts)["prompt"]
        inputs = ScoreInputs(
            picture=picture,
            uncontrolled=free,
            request=request,
            likeness=self.likeness,
            prompt=plain_text(read, request.prompt_weights),
            text_encoder=text_encoder(),
            device=str(devices.device),
            away=offloads(),
        )
        return measure_all(inputs)


def batch_of(requests: Sequence[TunedRequest]) -> RequestBatch[TunedRequest]:
    """Return requests that are alike as one batch."""
    sizes = tuple(request.batch_size for request in requests)
    return RequestBatch(requests=tuple(requests), sizes=sizes)


def cell_batch(batch: RequestBatch[TunedRequest]) -> CellBatch:
    """Return the control requests of a batch, as the always-on script's argument."""
    parsed = (parse_request(control_payload(request), ControlRequest) for request in batch.requests)
    scales = tuple(map(flat_scale, batch.requests))
    return CellBatch(requests=tuple(parsed), sizes=batch.sizes, scales=scales)


def text_encoder() -> ClipTextEncoder | None:
    """Return the loaded checkpoint's CLIP text encoder, or None if it has another one (SD2, SDXL)."""
    encoder: Any = getattr(shared.sd_model.cond_stage_model, "wrapped", None)
    parts = getattr(encoder, "tokenizer", None), getattr(encoder, "transformer", None)
    return None if None in parts else ClipTextEncoder(tokenizer=parts[0], transformer=parts[1])


def flat_scale(request: TunedRequest) -> float:
    """Return the constant CFG scale that the WebUI gets: the schedule's value at the first step."""
    return request.cfg_scale(0.0)


def control_payload(request: TunedRequest) -> dict[str, Any]:
    """Return the part of a cell's request that the always-on script reads."""
    payload = to_payload(request)
    kept = {name: payload[name] for name in ControlRequest.__struct_fields__ if name in payload}
    if request.cfg_scale.constant is not None:
        kept.pop("cfg_scale", None)  # `p.cfg_scale` holds it
    return kept


def folder_of(p: Any, name: str, key: str) -> Path:
    """Return the tuner's folder beside the WebUI's grids; the same name resumes an earlier run.

    Raises RequestError for a name that leaves the folder.
    """
    root = Path(p.outpath_grids) / "ctrlgen-tuner"
    folder = root / (name or key)
    if name and (Path(name).name != name or name in {".", ".."}):
        raise RequestError("$.tune.name", "expected a plain folder name, without slashes")
    return folder
