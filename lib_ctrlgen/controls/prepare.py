"""Checks and loads the units of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from PIL import Image

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.images.codec import to_rgb, transparent
from lib_ctrlgen.images.control_pictures import ControlPicture
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.batching import Request, RequestBatch
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.per_picture import picture_inputs
from lib_ctrlgen.request.progress import named
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control, Target, UnitInputs
from .checked import UnitFamily, family_of
from .controlnet_map import soft_holes
from .own_layers import AlignedControl, ReferenceControl
from .postprocess.registry import after_unet_control
from .protocols import (
    AttentionControl,
    FurtherFiles,
    GatedControl,
    InputControl,
    PreparedControl,
    ResidualControl,
)
from .unit import ActiveUnit, repeated
from .unit_pictures import decoded_references, unit_pictures


def load_requests(batch: RequestBatch[Request], target: Target) -> tuple[ActiveUnit, ...]:
    """Load the units and the concepts' reference pictures of a batch for the target's U-Net.

    They are loaded from the first request. The others differ only in weights, windows and the like, and are
    checked. `target.canvas` describes the pictures of one request. Raises RequestError.
    """
    loaded, *_ = [load_units(request.units, target) for request in batch.to_check()]
    units = repeated(loaded, target.canvas.pictures, batch.cells)
    return (*units, *load_concepts(batch.shared.blend, target))


def load_units(units: Sequence[ControlUnit], target: Target) -> tuple[ActiveUnit, ...]:
    """Load the enabled units for the target's U-Net.

    On a CPU, half precision becomes float32. A unit with several different pictures is returned as several
    units, one for each. For a unit without `low_vram`, `target.away` decides.
    Raises RequestError at `$.units[i].field` for every mistake in the request or in a model.
    """
    enabled = [(index, unit) for index, unit in enumerate(units) if unit.enabled]
    found: list[ActiveUnit] = []
    before: tuple[ActiveUnit, ...] = ()
    for index, unit in enabled:
        before = _load_unit(index, unit, target, f"$.units[{index}]", before)
        found += before
    return tuple(found)


def load_concepts(blend: Blend | None, target: Target) -> tuple[ActiveUnit, ...]:
    """Load the reference pictures of a blend's concepts, each as a unit that acts on its concept's rows only.

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
        raise RequestError("$.blend.model", f"'{model}' takes no reference pictures: name an IP-Adapter")
    return replace(loaded, concept=index)


def _load_unit(
    index: int | str, unit: ControlUnit, target: Target, path: str, before: Sequence[ActiveUnit] = ()
) -> tuple[ActiveUnit, ...]:
    """Load a unit: one `ActiveUnit` for each different pair of picture and mask.

    `before` are those of the enabled unit before it.
    """
    if unit.image_from == "init" and not target.canvas.img2img:
        message = "this generation has no img2img picture: send a picture, or use the WebUI's img2img"
        raise RequestError(f"{path}.image_from", message)
    if unit.image_from == "last":  # the WebUI has replaced it by the picture
        message = "only the WebUI keeps the last picture: name a picture in 'image' instead"
        raise RequestError(f"{path}.image_from", message)
    away = target.away if unit.low_vram is None else unit.low_vram
    target = replace(target, away=away, storage=unit.storage)
    parts = picture_inputs(unit, target.canvas.pictures, path)
    chain = chain_of(unit.preprocessor, f"{path}.preprocessor")
    pictures = unit_pictures(unit, parts, path, target.notices)
    of_unit = family_of(unit, path, target.store)
    place = f"{path}.control" if of_unit.file is None else f"{path}.model"
    with at_path(place), target.progress.piece(f"loading the model of {named(index)}"):
        model = of_unit.load(target)
    params = chain.checked(unit.params, model.params, f"{path}.params")
    _check_layers(unit, path, model.layers)
    references = decoded_references(unit, path)
    found = []
    for part, given in zip(parts, pictures, strict=True):
        bare = UnitInputs(
            unit=unit,
            path=path,
            given=None,
            params=params,
            references=references,
            crop=target.canvas.crop if unit.inpaint_crop else None,
            before=next((each.control for each in before if each.pictures in (None, part.pictures)), None),
        )
        job = bare if given.picture is None else _pictured(bare, given.picture, target)
        with target.progress.piece(f"reading the picture of {named(index)}"):
            one = _prepared(index, job, model, target)
        found.append(
            replace(
                one,
                mask=given.mask,
                pictures=part.pictures,
                image_at=given.image_at,
                mask_at=given.mask_at,
                loaded={**_label(of_unit, target), **_further(one)},
            )
        )
    return tuple(found)


def _pictured(job: UnitInputs, picture: ControlPicture, target: Target) -> UnitInputs:
    """The inputs of a unit with its decoded picture, or with its pose."""
    if isinstance(picture, Pose):
        return replace(job, given=draw(picture, picture.size), pose=picture)
    rgb = to_rgb(picture)
    return replace(
        job,
        given=rgb,
        deep=picture if picture.mode == "F" else None,
        transparent=_holes(job.unit, picture, target),
        colours=picture.convert("RGB") if picture.mode == "RGBA" else rgb,
    )


def _prepared(index: int | str, job: UnitInputs, model: Control, target: Target) -> ActiveUnit:
    after_unet = after_unet_control(job, target)
    with at_path(f"{job.path}.model"):
        control = model.prepare(job, target)
    _check_reuse(job.unit, job.path, control, model.title)
    return ActiveUnit(index=index, spec=job.unit, control=control, after_unet=after_unet, crop=job.crop)


def _holes(unit: ControlUnit, picture: Image.Image, target: Target) -> Image.Image | None:
    """The holes of a picture: its transparent pixels, else, for the img2img picture, the inpainting mask."""
    own = transparent(picture)
    mask = target.canvas.mask
    if unit.semantics is not None:
        return soft_holes(picture, mask if unit.image_from == "init" else None)
    if own is not None or mask is None or unit.image_from != "init":
        return own
    return mask.convert("L").point(lambda value: 255 * (value > 127)).convert("RGB")


def _further(unit: ActiveUnit) -> Mapping[str, str]:
    return unit.control.loaded if isinstance(unit.control, FurtherFiles) else {}


def _label(found: UnitFamily, target: Target) -> Mapping[str, str]:
    """`name [hash]` of a unit's model file, if it has one."""
    return {} if found.file is None else {"model": target.store.files.label(found.file)}


def _check_reuse(unit: ControlUnit, path: str, control: PreparedControl, family: str) -> None:
    if unit.reuse > 1 and not isinstance(control, (ResidualControl, ReferenceControl)):
        what = (
            "changes the inputs of the U-Net's own layers"
            if isinstance(control, (InputControl, AlignedControl, GatedControl))
            else "computes nothing during the steps"
        )
        message = f"must be 1: {family} {what}; residuals and reference pictures can be used again"
        raise RequestError(f"{path}.reuse", message)


def _check_layers(unit: ControlUnit, path: str, layers: int) -> None:
    weights = unit.layer_weights
    if weights is not None and len(weights) != layers:
        raise RequestError(
            f"{path}.layer_weights", f"expected {layers} weights, one per layer, got {len(weights)}"
        )
