"""Adds features to hidden states of the U-Net's encoder, for T2I-Adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from lib_ctrlgen.controls.protocols import FeatureControl
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import fit_mask, soft_features, summed_features
from lib_ctrlgen.unet.row_factors import times

from .base import ActingUnit, Masks, control_of, mask_fit


class FeatureEffect:
    """Sums the weighted features of all units, which the port adds while the encoder runs."""

    control: ClassVar[type] = FeatureControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.pending: tuple[Tensor, ...] = ()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Let the port hook the encoder's outputs that features are added to."""
        port.add_features(hooks, lambda: self.pending)

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Compute the sum of all units' features for the whole batch, for each place in the encoder."""
        self.pending = ()
        self.pending = summed_features([self.features(each, call) for each in acting])

    def features(self, each: ActingUnit, call: UNetCall) -> list[Tensor]:
        """Return one unit's weighted features [B, C, h, w], zero in rows on which it does not act."""
        raw = control_of(each.unit, FeatureControl).features(*call.size)
        factors = layer_factors(each.row_weights, len(raw), soft_features(len(raw)))
        mask = self.masks.of(each.unit, each.row_weights, call)
        found = [times(layer.to(call.inputs.x), by) for layer, by in zip(raw, factors, strict=True)]
        if mask is not None:
            found = [layer * fit_mask(mask, layer, mask_fit(each.unit)) for layer in found]
        return [layer.expand(call.batch, -1, -1, -1) for layer in found]

    def end(self) -> None:
        """Clear the features of the call."""
        self.pending = ()

    def close(self) -> None:
        """Clear the features of the call."""
        self.pending = ()
