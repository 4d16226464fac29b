"""From a request's units to units that act: checked, loaded, encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from PIL import Image

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.images.codec import to_rgb, transparent
from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request.batching import Request, RequestBatch
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.per_picture import shown
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control, Target, UnitInputs
from .checked import family_of
from .postprocess.registry import later_control
from .protocols import (
    AttentionControl,
    FurtherFiles,
    GatedControl,
    InputControl,
    PreparedControl,
    ResidualControl,
)
from .unit import ActiveUnit, repeated
from .unit_pictures import unit_pictures


def load_requests(batch: RequestBatch[Request], target: Target) -> tuple[ActiveUnit, ...]:
    """Load the units and the concepts' reference pictures of a batch for a U-Net.

    They are those of the first request. The others differ in numbers of single steps alone; they are
    checked. `target.canvas` has the pictures of one request. Raises RequestError.
    """
    loaded, *_ = [load_units(request.units, target) for request in batch.to_check()]
    units = repeated(loaded, target.canvas.pictures, batch.cells)
    return (*units, *load_concepts(batch.shared.blend, target))


def load_units(units: Sequence[ControlUnit], target: Target) -> tuple[ActiveUnit, ...]:
    """Load the enabled units for a U-Net.

    Half precision on a CPU becomes float32. A unit with a picture for each picture of the batch comes as
    several, each with its pictures. Where a unit does not say `low_vram`, `target.away` holds.
    Raises RequestError at `$.units[i].field` and nothing else for a wrong request or model.
    """
    enabled = [(index, unit) for index, unit in enumerate(units) if unit.enabled]
    parts = [_load_unit(index, unit, target, f"$.units[{index}]") for index, unit in enabled]
    return tuple(chain.from_iterable(parts))


def load_concepts(blend: Blend | None, target: Target) -> tuple[ActiveUnit, ...]:
    """The reference pictures of a blend's concepts, each as a unit that acts on its concept's rows.

    Raises RequestError at `$.blend.model` or at the concept's picture.
    """
    if blend is None or not blend.model:
        return ()
    pictured = [(index, concept.image) for index, concept in enumerate(blend.concepts) if concept.image]
    return tuple(_load_concept(index, image, blend.model, target) for index, image in pictured)


def _load_concept(index: int, image: str, model: str, target: Target) -> ActiveUnit:
    path = f"$.blend.concepts[{index}]"
    unit = ControlUnit(model=model, image=image)
    try:
        (loaded,) = _load_unit(f"concept {index}", unit, target, path)
    except RequestError as error:
        raise (
            error if error.path == f"{path}.image" else RequestError("$.blend.model", error.message)
        ) from error
    if not isinstance(loaded.control, AttentionControl):
        raise RequestError(
            "$.blend.model", f"'{model}' does not look at reference pictures: name an IP-Adapter"
        )
    return replace(loaded, concept=index)


def _load_unit(index: int | str, unit: ControlUnit, target: Target, path: str) -> tuple[ActiveUnit, ...]:
    """A unit in as many parts as it has different pictures."""
    if unit.image_from == "init" and not target.canvas.img2img:
        message = "there is no img2img picture here: send a picture, or use the WebUI's img2img"
        raise RequestError(f"{path}.image_from", message)
    away = target.away if unit.low_vram is None else unit.low_vram
    target = replace(target, away=away, storage=unit.storage)
    parts = shown(unit, target.canvas.pictures, path)
    pictures = unit_pictures(unit, parts, path, target.notices)
    chosen = preprocessor(unit.preprocessor, f"{path}.preprocessor")
    model, label = _load_model(unit, path, target)
    params = check_params(unit.params, (*params_of(chosen), *model.params), f"{path}.params")
    _check_layers(unit, path, model.layers)
    found = []
    for part, given in zip(parts, pictures, strict=True):
        picture, rgb = given.picture, to_rgb(given.picture)
        job = UnitInputs(
            unit=unit,
            path=path,
            picture=rgb,
            params=params,
            deep=picture if picture.mode == "F" else None,
            transparent=_holes(unit, picture, target),
            colours=picture.convert("RGB") if picture.mode == "RGBA" else rgb,
            crop=target.canvas.crop if unit.inpaint_crop else None,
        )
        one = _prepared(index, job, model, target)
        found.append(
            replace(
                one,
                mask=given.mask,
                pictures=part.pictures,
                image_at=given.image_at,
                mask_at=given.mask_at,
                loaded={"model": label, **_further(one)},
            )
        )
    return tuple(found)


def _prepared(index: int | str, job: UnitInputs, model: Control, target: Target) -> ActiveUnit:
    later = later_control(job, target)
    with at_path(f"{job.path}.model"):
        control = model.prepare(job, target)
    _check_reuse(job.unit, job.path, control, model.title)
    return ActiveUnit(index=index, spec=job.unit, control=control, later=later, crop=job.crop)


def _holes(unit: ControlUnit, picture: Image.Image, target: Target) -> Image.Image | None:
    """Where a picture is to be painted anew: its own transparency, else the host's mask on the host's own."""
    own = transparent(picture)
    mask = target.canvas.mask
    if own is not None or mask is None or unit.image_from != "init":
        return own
    return mask.convert("L").point(lambda value: 255 * (value > 127)).convert("RGB")


def _further(unit: ActiveUnit) -> Mapping[str, str]:
    return unit.control.loaded if isinstance(unit.control, FurtherFiles) else {}


def _load_model(unit: ControlUnit, path: str, target: Target) -> tuple[Control, str]:
    """The unit's model, and the name and hash of its file."""
    file, kind, family = family_of(unit, path, target.store)
    with at_path(f"{path}.model"):
        return family.load(file, kind, target), target.store.files.label(file)


def _check_reuse(unit: ControlUnit, path: str, control: PreparedControl, family: str) -> None:
    if unit.reuse > 1 and not isinstance(control, ResidualControl):
        what = (
            "changes what the U-Net's own layers read"
            if isinstance(control, (InputControl, GatedControl))
            else "computes nothing during the steps"
        )
        raise RequestError(f"{path}.reuse", f"must be 1: {family} {what}; only residuals can be used again")


def _check_layers(unit: ControlUnit, path: str, layers: int) -> None:
    weights = unit.layer_weights
    if weights is not None and len(weights) != layers:
        raise RequestError(
            f"{path}.layer_weights", f"expected {layers} weights, one per layer, got {len(weights)}"
        )
