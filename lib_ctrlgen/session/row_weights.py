"""How much of a unit each row of a U-Net's call gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.spec import ControlMode, ControlUnit
from lib_ctrlgen.unet.call import Position
from lib_ctrlgen.unet.residuals import soft_weights
from lib_ctrlgen.unet.row_factors import Factor, factor


@dataclass(frozen=True)
class RowWeight:
    """What a unit does to a row; equal doses, equal effects. `layers` are its own layer weights.

    `since` is the step whose residuals are used; None: this step's, and none are kept.
    """

    weight: float
    mode: ControlMode = "balanced"
    layers: tuple[float, ...] | None = None
    strength: float = 1.0
    since: int | None = None

    def per_layer(self, softness: Sequence[float]) -> tuple[float, ...]:
        """Each layer's number: the weight times its own layer weight, or times the mode's softness."""
        if self.layers is not None:
            return tuple(self.weight * own for own in self.layers)
        if self.mode == "balanced":
            return (self.weight,) * len(softness)
        return tuple(self.weight * soft for soft in softness)


def row_dose(
    unit: ActiveUnit,
    spec: ControlUnit,
    weight: float,
    position: Position,
    row: int,
    computed: int | None = None,
) -> RowWeight | None:
    """The dose of one row, None where the unit does not act on it. `spec` has the numbers of its image.

    `computed` is the step whose network call the plan wants to be used.
    """
    rows = position.rows
    cond_only = unit.cond_only or (spec.control_mode == "control" and not unit.all_rows)
    if weight == 0.0 or (cond_only and not rows.cond[row]):
        return None
    if unit.concept is not None and rows.concept[row] != unit.concept:
        return None
    if not unit.sees(rows.image[row]):
        return None
    progress = position.step / position.steps
    own = spec.layer_weights
    return RowWeight(
        weight=weight,
        mode=spec.control_mode,
        layers=None if own is None else tuple(schedule(progress) for schedule in own),
        strength=1.0 if unit.mask is None else spec.mask_strength(progress),
        since=computed if spec.reuse > 1 else None,
    )


def layer_factors(
    doses: Sequence[RowWeight | None], layers: int, softness: Sequence[float] | None = None
) -> tuple[Factor, ...]:
    """Of each layer what its rows are multiplied with.

    `softness` is the curve of the modes `prompt` and `control` over the layers, that of residuals if absent.
    """
    curve = soft_weights(layers) if softness is None else softness
    numbers = [(0.0,) * layers if dose is None else dose.per_layer(curve) for dose in doses]
    return tuple(factor(each) for each in zip(*numbers, strict=True))


def strengths(doses: Sequence[RowWeight | None]) -> Factor:
    """How much the mask holds back in each row."""
    return factor([0.0 if dose is None else dose.strength for dose in doses])
