"""From a request's units to units that act: checked, loaded, encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.blend import Blend
from lib_ctrlgen.calls import UNetShape
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.images import decode_image, to_rgb, transparent
from lib_ctrlgen.params import check_params
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.spec import ControlUnit
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.units import ActiveUnit, AttentionControl, InputControl, PreparedControl, ResidualControl

from .base import Control, Job, Target, identify_file
from .registry import control_for


def load_units(
    units: Sequence[ControlUnit],
    store: ModelStore,
    shape: UNetShape,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    unet: nn.Module | None = None,
    low_vram: bool = False,
) -> tuple[ActiveUnit, ...]:
    """Load the enabled units for a U-Net of this shape, on its device and in its dtype.

    Half precision on a CPU becomes float32. `unet` is the U-Net itself: some controls build on it.
    `low_vram` holds for units that do not say it themselves.
    Raises RequestError at `$.units[i].field` and nothing else for a wrong request or model.
    """
    target = Target(
        store=store, shape=shape, device=torch.device(device), dtype=dtype, unet=unet, away=low_vram
    )
    enabled = [(index, unit) for index, unit in enumerate(units) if unit.enabled]
    return tuple(_load_unit(index, unit, target, f"$.units[{index}]") for index, unit in enabled)


def load_concepts(
    blend: Blend | None,
    store: ModelStore,
    shape: UNetShape,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    unet: nn.Module | None = None,
    low_vram: bool = False,
) -> tuple[ActiveUnit, ...]:
    """The reference pictures of a blend's concepts, each as a unit that acts on its concept's rows.

    Raises RequestError at `$.blend.model` or at the concept's picture.
    """
    if blend is None or not blend.model:
        return ()
    target = Target(
        store=store, shape=shape, device=torch.device(device), dtype=dtype, unet=unet, away=low_vram
    )
    pictured = [(index, concept.image) for index, concept in enumerate(blend.concepts) if concept.image]
    return tuple(_load_concept(index, image, blend.model, target) for index, image in pictured)


def _load_concept(index: int, image: str, model: str, target: Target) -> ActiveUnit:
    path = f"$.blend.concepts[{index}]"
    unit = ControlUnit(model=model, image=image)
    try:
        loaded = _load_unit(f"concept {index}", unit, target, path)
    except RequestError as error:
        raise (
            error if error.path == f"{path}.image" else RequestError("$.blend.model", error.message)
        ) from error
    if not isinstance(loaded.control, AttentionControl):
        raise RequestError(
            "$.blend.model", f"'{model}' does not look at reference pictures: name an IP-Adapter"
        )
    return replace(loaded, concept=index)


def _load_unit(index: int | str, unit: ControlUnit, target: Target, path: str) -> ActiveUnit:
    away = target.away if unit.low_vram is None else unit.low_vram
    target = replace(target, away=away, storage=unit.storage)
    picture = _decode(unit.image, f"{path}.image")
    if picture is None:
        raise RequestError(f"{path}.image", "a unit needs a picture: send it as base64 or a data URL")
    mask = _decode(unit.mask, f"{path}.mask")
    chosen = preprocessor(unit.preprocessor, f"{path}.preprocessor")
    model = _load_model(unit, path, target)
    params = check_params(unit.params, (*chosen.params, *model.params), f"{path}.params")
    _check_layers(unit, path, model.layers)
    job = Job(unit=unit, path=path, picture=to_rgb(picture), params=params, transparent=transparent(picture))
    with at_path(f"{path}.model"):
        control = model.prepare(job, target)
    _check_reuse(unit, path, control, model.title)
    return ActiveUnit(index=index, spec=unit, control=control, mask=mask)


def _decode(text: str, path: str) -> Image.Image | None:
    return decode_image(text, path) if text else None


def _load_model(unit: ControlUnit, path: str, target: Target) -> Control:
    with at_path(f"{path}.model"):
        file = target.store.resolve(unit.model)
        control = control_for(target.store.get(file, identify_file))
    if unit.control not in {"auto", control.name}:
        raise RequestError(
            f"{path}.control",
            f"'{unit.model}' is of the family {control.title}: say 'auto' or {control.name!r}",
        )
    with at_path(f"{path}.model"):
        return control.load(file, target)


def _check_reuse(unit: ControlUnit, path: str, control: PreparedControl, family: str) -> None:
    if unit.reuse > 1 and not isinstance(control, ResidualControl):
        what = (
            "changes what the U-Net's own layers read"
            if isinstance(control, InputControl)
            else "computes nothing during the steps"
        )
        raise RequestError(f"{path}.reuse", f"must be 1: {family} {what}; only residuals can be used again")


def _check_layers(unit: ControlUnit, path: str, layers: int) -> None:
    weights = unit.layer_weights
    if weights is not None and len(weights) != layers:
        raise RequestError(
            f"{path}.layer_weights", f"expected {layers} weights, one per layer, got {len(weights)}"
        )
