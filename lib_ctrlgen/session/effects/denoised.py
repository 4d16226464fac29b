"""Changes the clean latent that the U-Net predicts, as `inpaint_only` and `tile_colorfix` do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import PredictionControl
from lib_ctrlgen.session.row_weights import RowWeight, all_cond
from lib_ctrlgen.unet.call import UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import factor, times

from .base import ActingUnit, Masks, control_of


class PredictionEffect:
    """Changes the U-Net's output by each unit in turn, in proportion to its weight (0..1) and its mask.

    The hook runs before the port's hook that copies rows computed once to the whole batch.
    """

    control: ClassVar[type] = PredictionControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.call: UNetCall | None = None
        self.acting: tuple[ActingUnit, ...] = ()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook the U-Net's output: a tensor, a tuple or one of diffusers' output classes."""

        def change(_module: nn.Module, _args: object, output: Any) -> Any:
            if self.call is None or not self.acting:
                return None
            if isinstance(output, dict):  # diffusers' outputs are dicts that take their fields by name
                return type(output)(**{**output, "sample": self.changed(output["sample"], self.call)})
            if isinstance(output, tuple):
                return (self.changed(output[0], self.call), *output[1:])
            return self.changed(output, self.call)

        hooks.add(port.module.register_forward_hook(change, prepend=True))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Record the call and its units, with those that restore parts of a picture last."""
        self.call = call
        self.acting = tuple(
            sorted(acting, key=lambda each: control_of(each.unit, PredictionControl).restores)
        )

    def changed(self, output: Tensor, call: UNetCall) -> Tensor:
        """Return the output [B, 4, h, w] changed by all units; rows on which no unit acts are unchanged."""
        result = output.float().clone()
        for each in self.acting:
            self.change(each, result, call)
        return result.to(output)

    def change(self, each: ActingUnit, output: Tensor, call: UNetCall) -> None:
        """Apply one unit to `output` in place, in the rows on which it acts."""
        control = control_of(each.unit, PredictionControl)
        rows = [row for row, row_weight in enumerate(each.row_weights) if row_weight is not None]
        row_weights = [each.row_weights[row] for row in rows]
        part, index = call.select(rows), row_index(rows)
        if all_cond(each.unit.spec, hires=call.position.hires):
            part = part.all_cond()
        timestep = part.inputs.timestep.to(output.device)
        if each.unit.spec.semantics is not None:
            timestep = timestep.float().round()
        level = control.noise().at(timestep)
        # an inpainting U-Net's input has the mask and the masked picture in channels after the latent
        denoised = level.denoised(part.inputs.x[:, : output.shape[1]].float(), output[index])
        change = times(
            control.changed(denoised, part) - denoised,
            factor([share(row_weight) for row_weight in row_weights]),
        )
        mask = None if each.unit.spec.semantics else self.masks.of(each.unit, row_weights, call)
        output[index] += level.output_change(change if mask is None else change * mask)

    def end(self) -> None:
        """Clear what was recorded of the call."""
        self.call, self.acting = None, ()

    def close(self) -> None:
        """Clear what was recorded of the call."""
        self.end()


def share(row_weight: RowWeight | None) -> float:
    """Return the fraction of the change that a row gets, 0..1."""
    return 0.0 if row_weight is None else min(max(row_weight.weight, 0.0), 1.0)
