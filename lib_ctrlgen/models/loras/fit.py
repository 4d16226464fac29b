"""Fits a LoRA file to the networks of a checkpoint: for each layer of a network the change of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError, WrongModelError
from lib_ctrlgen.unet.family import Family

from .changes import LayerChange, change_of
from .file import LoraFile
from .formulas import Pieces
from .names import Part, TextNames, UNetNames

FAMILY = "attn2_to_k"  # its input is the text, so that its width tells the checkpoint family
TEXT_PARTS: Mapping[int, tuple[tuple[Part, ...], ...]] = {
    1: (("te", "te1"),),
    2: (("te1", "te"), ("te2",)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLora:
    """A LoRA file for the networks of one checkpoint.

    unet      the changes by the path of the U-Net's module
    texts     the same for each text encoder
    unmatched the names in the file that the networks have no layer for
    """

    unet: Mapping[str, LayerChange]
    texts: tuple[Mapping[str, LayerChange], ...] = ()
    unmatched: tuple[str, ...] = field(default=())


def layer_weight(layer: nn.Module) -> Tensor:
    """The weight of a layer. Raises ModelError for a layer without one."""
    if not isinstance(layer.weight, Tensor):
        raise ModelError(f"a {type(layer).__name__} has no weight to change")
    return layer.weight


WeightOf: TypeAlias = Callable[[nn.Module], Tensor]
DeviceAndType: TypeAlias = tuple[torch.device, torch.dtype]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a file is fitted, see `fitted`; `name` is that of the file, for errors."""

    dyn: int | None
    weight_of: WeightOf
    place: DeviceAndType | None
    name: str

    def changes(
        self, layers: Mapping[str, Pieces], places: Mapping[str, str | None], network: nn.Module
    ) -> dict[str, LayerChange]:
        """The change of each layer by the path of its module. Raises WrongModelError that names the layer."""
        modules = dict(network.named_modules())
        found: dict[str, LayerChange] = {}
        for layer, pieces in layers.items():
            path = places[layer]
            if path is None:
                continue
            try:
                found[path] = self.change(pieces, modules[path])
            except (RuntimeError, ValueError, IndexError, ModelError) as error:
                text = " ".join(str(error).split())[:200]
                message = f"'{self.name}' does not fit the checkpoint at {layer}: {text}"
                raise WrongModelError(message) from error
        return found

    def change(self, pieces: Pieces, layer: nn.Module) -> LayerChange:
        """The change of one layer. Raises ModelError."""
        weight = self.weight_of(layer)
        device, dtype = self.place or (weight.device, weight.dtype)
        return change_of(pieces, layer, weight.detach(), self.dyn).to(device, dtype)


def fitted(
    file: LoraFile,
    name: str,
    unet: nn.Module,
    texts: Sequence[nn.Module],
    dyn: int | None = None,
    *,
    whole: Sequence[bool] = (),
    weight_of: WeightOf = layer_weight,
    place: DeviceAndType | None = None,
) -> FittedLora:
    """Fit a file to a U-Net and its text encoders (none, one, or SDXL's two).

    `dyn` limits the number of ranks. `whole` is False for a text encoder whose unused last layers were left
    out: then the file's layers for them are left out too. `weight_of` returns the weight that a layer's
    change is computed from, and `place` is the device and dtype of the changes, by default the weight's.
    Raises WrongModelError for a file that was made for another checkpoint family, and ModelError for other
    files that do not fit.
    """
    layers = file.of("unet")
    _require_family(layers, unet, name)
    names = UNetNames(unet)
    places = {layer: names.find(layer) for layer in layers}
    _require_some(places, layers, name)
    unmatched = [f"unet {layer}" for layer, place in places.items() if place is None]
    fit = Fit(dyn=dyn, weight_of=weight_of, place=place, name=name)
    changes = fit.changes(layers, places, unet)
    encoders = []
    for number, (encoder, parts) in enumerate(zip(texts, TEXT_PARTS.get(len(texts), ()), strict=False)):
        found, missing = _text_changes(file, parts, encoder, fit)
        encoders.append(found)
        complete = whole[number] if number < len(whole) else True
        unmatched += [f"text encoder {layer}" for layer in missing] if complete else []
    return FittedLora(unet=changes, texts=tuple(encoders), unmatched=tuple(unmatched))


def _text_changes(
    file: LoraFile, parts: Iterable[Part], encoder: nn.Module, fit: Fit
) -> tuple[dict[str, LayerChange], list[str]]:
    """The changes of one text encoder, and the names in the file that it has no layer for."""
    layers = next((found for part in parts if (found := file.of(part))), {})
    names = TextNames(encoder)
    places = {layer: names.find(layer) for layer in layers}
    missing = [layer for layer, place in places.items() if place is None]
    return fit.changes(layers, places, encoder), missing


def _require_family(layers: Mapping[str, Pieces], unet: nn.Module, name: str) -> None:
    """Raise WrongModelError where the file and the U-Net read texts of different widths."""
    own = next((m for path, m in unet.named_modules() if path.endswith("attn2.to_k")), None)
    downs = (pieces.get("lora_down.weight") for layer, pieces in layers.items() if layer.endswith(FAMILY))
    width = next((int(down.shape[1]) for down in downs if down is not None), None)
    if not isinstance(own, nn.Linear) or width in (None, own.in_features):
        return
    raise WrongModelError(
        f"'{name}' was made for {Family.of(int(width or 0))} (texts of width {width}), and the checkpoint is "
        f"{Family.of(int(own.in_features))} (width {own.in_features}): use a LoRA for this checkpoint family"
    )


def _require_some(places: Mapping[str, str | None], layers: Mapping[str, object], name: str) -> None:
    """Raise WrongModelError where the U-Net has none of the file's layers."""
    if layers and not any(places.values()):
        raise WrongModelError(
            f"'{name}' does not fit the checkpoint: it changes layers such as {next(iter(layers))}, of which "
            "the U-Net has none"
        )
