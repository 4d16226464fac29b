"""Everything before the first step of a training: networks, method, cost, encoded pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec.structs import replace
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import expanded
from lib_ctrlgen.headless.engine import Engine, find_model
from lib_ctrlgen.models.disk_cache import key_of
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.training import TrainingSpec

from .cost import Cost, disk_cost, memory_cost
from .dataset.batches import Batches
from .dataset.cache import TensorCache
from .dataset.captions import caption_features, long_captions
from .dataset.checks import Pictures, read_pictures
from .dataset.encoded import EncodedView, Progress, ViewEncoder
from .dataset.views import View
from .loop import Loop
from .methods.base import Base, TrainingMethod
from .methods.ip_adapter import adapter_path
from .methods.registry import method_of
from .prior import make_prior, needs_pictures, prior_folder
from .time_cost import pass_seconds, passes_of, times_of
from .vision import unmeasured

CACHE = "cache"


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A training that may start: its checked pictures, its method with initial weights, and its cost."""

    spec: TrainingSpec
    engine: Engine
    folder: Path
    checkpoint: Path
    pictures: Pictures
    base: Base
    method: TrainingMethod
    cost: Cost
    warnings: tuple[str, ...]

    @property
    def models(self) -> dict[str, str]:
        """By the fields `base` and `adapter`, a key that changes with the named file. Raises ModelError."""
        files = {"base": self.checkpoint}
        if self.spec.adapter:
            files["adapter"] = adapter_path(self.spec.adapter, self.engine.store)
        return {name: key_of(stamp(path)) for name, path in files.items()}

    def with_prior(self, progress: Progress | None = None) -> Prepared:
        """The same with the prior's pictures, which the base model makes if it has to."""
        if not needs_pictures(self.spec):
            return self
        folder = prior_folder(self.spec, self.checkpoint, self.folder)
        make_prior(self.spec, self.engine, folder, progress)
        spec = replace(self.spec, prior_pictures=str(folder))
        found = read_pictures(spec)
        first = dataclasses.replace(found, prior=found.prior[: spec.prior_count])
        return dataclasses.replace(self, spec=spec, pictures=first)

    def loop(self, progress: Progress | None = None) -> tuple[Loop, Batches | None]:
        """The loop over all pictures, encoded or read from the cache, and the held-out views."""
        return _loop(self, self.pictures, progress)


def prepare(spec: TrainingSpec, engine: Engine, folder: Path) -> Prepared:
    """Check the pictures, load the networks, make the method and estimate its cost.

    Raises RequestError, above all for bad pictures and a training that does not fit the memory.
    """
    _check_prior(spec)
    pictures = read_pictures(spec)
    base = load_base(spec, engine)
    method = method_of(spec, base)
    few = dataclasses.replace(pictures, training=pictures.training[:2], held_out=(), prior=())
    checkpoint = find_model(engine.store, spec.base)
    unknown = Cost(weights=0, activations=0, free=None, parameters=0, memory="")
    prepared = Prepared(
        spec=spec,
        engine=engine,
        folder=folder,
        checkpoint=checkpoint,
        pictures=pictures,
        base=base,
        method=method,
        cost=unknown,
        warnings=(*pictures.warnings, *_too_long(base, pictures), *filter(None, [unmeasured(base)])),
    )
    return dataclasses.replace(prepared, cost=_cost(prepared, few))


def load_base(spec: TrainingSpec, engine: Engine) -> Base:
    """The networks of the checkpoint, on the engine's device. Raises RequestError at `$.base`."""
    with moved("$.base"):
        networks = engine.load(spec.base)
    device, dtype = engine.place.device, networks.unet.dtype
    if spec.checkpointing:
        networks.unet.enable_gradient_checkpointing()
        networks.unet.train()  # older diffusers recompute only then; Stable Diffusion has no dropout
    return Base(networks=networks, store=engine.store, device=device, dtype=dtype)


@contextmanager
def moved(path: str) -> Iterator[None]:
    """Raise a RequestError of the block at another path: the engine calls the base `$.model`."""
    try:
        yield
    except RequestError as error:
        raise RequestError(path, error.message) from error


def _cost(prepared: Prepared, few: Pictures) -> Cost:
    spec, pictures = prepared.spec, prepared.pictures
    loop, _ = _loop(prepared, few, None)
    cost = memory_cost(spec, loop)
    cost = disk_cost(cost, expanded(spec.out), prepared.folder / CACHE, _count(prepared))
    views = (*pictures.held_out, *pictures.training)
    seconds = pass_seconds(loop, _encoder(prepared), prepared.engine, views)
    referenced = _references(loop.sources[0][0].views) is not None
    passes = passes_of(spec, pictures, referenced=referenced)
    return dataclasses.replace(cost, times=times_of(passes, seconds, spec.preview_steps))


def _loop(prepared: Prepared, pictures: Pictures, progress: Progress | None) -> tuple[Loop, Batches | None]:
    spec, base, method = prepared.spec, prepared.base, prepared.method
    encoder = _encoder(prepared)
    views = [*pictures.training, *pictures.held_out, *pictures.prior]
    text = None if method.encodes_text else caption_features(base.networks, _captions(views), encoder.cached)
    encoded = encoder.encode(views, progress)
    own, first = len(pictures.training), len(pictures.training) + len(pictures.held_out)
    batches = Batches(spec=spec, views=encoded[:own], text=text, sized=base.networks.sized)
    held = (
        dataclasses.replace(batches, views=encoded[own:first], sources=encoded[:own]) if first > own else None
    )
    if (references := _references(encoded[:own])) is not None:
        method.learn(references, _references(encoded[first:]))
    prior = None
    if spec.prior:
        others = (
            encoded[first:] or encoded[:own]
        )  # only to estimate the cost of a prior that is not there yet
        prior = dataclasses.replace(batches, views=others, prior=True)
    return Loop(spec, method, base, batches, prior), held


def _encoder(prepared: Prepared) -> ViewEncoder:
    base = prepared.base
    return ViewEncoder(
        spec=prepared.spec,
        base=base,
        method=prepared.method,
        cached=TensorCache.at(prepared.folder / CACHE, key_of(stamp(prepared.checkpoint), str(base.dtype))),
        method_key=_method_key(prepared),
    )


def _references(views: Sequence[EncodedView]) -> Tensor | None:
    """What the method computed of all versions of the views, [N, ...]; None without it."""
    found = [each.reference for view in views for each in view.versions if each.reference is not None]
    return torch.stack(found) if found else None


def _count(prepared: Prepared) -> int:
    """How many pictures are encoded, with those that the base model makes."""
    pictures, spec = prepared.pictures, prepared.spec
    made = spec.prior_count if needs_pictures(spec) else len(pictures.prior)
    return len(pictures.training) + len(pictures.held_out) + made


def _captions(views: Sequence[View]) -> list[str]:
    return [view.caption for view in views]


def _method_key(prepared: Prepared) -> str:
    """What the features of reference pictures depend on beside the pictures."""
    spec = prepared.spec
    if not spec.adapter:
        return ""
    return key_of(stamp(adapter_path(spec.adapter, prepared.engine.store)), spec.encoder)


def _check_prior(spec: TrainingSpec) -> None:
    if spec.prior and not (spec.prior_pictures or spec.prior_prompt):
        raise RequestError(
            "$.prior_pictures", "prior preservation needs pictures or prior_prompt; or set prior to 0"
        )


def _too_long(base: Base, pictures: Pictures) -> list[str]:
    views = (*pictures.training, *pictures.held_out)
    long = set(long_captions(base.networks, [view.caption for view in views]))
    return [
        f"{v.path.name}: its caption has over 75 tokens; the rest is not read"
        for v in views
        if v.caption in long
    ]
