"""Computes how strongly a unit acts on each row of a U-Net call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib_ctrlgen.controls.protocols import FinishingControl, InputControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.request.semantics import reported_progress
from lib_ctrlgen.request.spec import ControlMode, ControlUnit
from lib_ctrlgen.unet.attention import LayerWeighting
from lib_ctrlgen.unet.call import Position
from lib_ctrlgen.unet.residuals import soft_weights
from lib_ctrlgen.unet.row_factors import Factor, factor

SOFT_IN_HIRES = ("canny", "mlsd")


@dataclass(frozen=True)
class RowWeight:
    """All that decides how a unit acts on one row: rows with equal values are treated alike.

    weight    the unit's weight at this step
    mode      the control mode
    layers    the unit's layer weights at this step; None if the mode decides
    strength  the mask strength, 0..1
    since     the step whose residuals are used, for units with `reuse`; None if the network runs at
              every step and no residuals are kept
    fade      the weight's magnitude as a share of the largest of its schedule, 0..1, for units with weights
              that their own weight does not multiply (`LayerWeighting`); 1 for all others
    """

    weight: float
    mode: ControlMode = "balanced"
    layers: tuple[float, ...] | None = None
    strength: float = 1.0
    since: int | None = None
    fade: float = 1.0

    @property
    def even(self) -> RowWeight:
        """The same for a part of the control that has no layer weights and no modes of its own."""
        return replace(self, layers=None, mode="balanced")

    @property
    def always(self) -> RowWeight:
        """The same without `reuse`: the network runs at every call."""
        return replace(self, since=None)

    def per_layer(self, softness: Sequence[float]) -> tuple[float, ...]:
        """Return the factor of each layer: the weight times the layer weight, or times the mode's softness.

        `softness` has one number per layer and is ignored by the mode `balanced`.
        """
        if self.layers is not None:
            return tuple(self.weight * own for own in self.layers)
        if self.mode == "balanced":
            return (self.weight,) * len(softness)
        return tuple(self.weight * soft for soft in softness)


def row_weight_of(
    unit: ActiveUnit,
    spec: ControlUnit,
    weight: float,
    position: Position,
    row: int,
    computed: int | None = None,
) -> RowWeight | None:
    """Return the row weight of a unit for row `row`, None if the unit does not act on that row.

    `spec` is the unit's spec for the row's image, `weight` the planned weight at this step, and
    `computed` the step whose residuals the plan uses now (`reuse`).
    """
    rows = position.rows
    if spec.semantics is not None:
        weight = reported_weight(unit, spec, position)
    cond_only = unit.cond_only or (spec.control_mode == "control" and not unit.all_rows)
    finishes = spec.semantics is not None and isinstance(unit.control, FinishingControl)
    cond = rows.cond[row] or all_cond(spec, hires=position.hires)
    if (weight == 0.0 and not finishes) or (cond_only and not cond):
        return None
    if unit.concept is not None and rows.concept[row] != unit.concept:
        return None
    if not unit.sees(rows.image[row]):
        return None
    progress = position.step / position.steps
    own = spec.layer_weights
    return RowWeight(
        weight=weight,
        mode=mode_of(spec, hires=position.hires),
        layers=None if own is None else tuple(schedule(progress) for schedule in own),
        strength=1.0 if unit.mask is None else spec.mask_strength(progress),
        since=computed if spec.reuse > 1 else None,
        fade=faded(weight, spec.in_pass(hires=position.hires)) if unit.fades else 1.0,
    )


def reported_weight(unit: ActiveUnit, spec: ControlUnit, position: Position) -> float:
    """Return the weight of a unit with the semantics of sd-webui-controlnet.

    What acts after the U-Net has no window and acts in both passes; LLLite never acts in the hires pass.
    """
    if unit.all_rows and spec.semantics is not None:
        return spec.semantics.weight
    reported = position.reported
    if reported is None:
        reported = reported_progress(position.step, position.steps)
    if position.hires and isinstance(unit.control, InputControl):
        return 0.0
    acts = spec.acts_at(reported)
    return spec.weight_in_pass(position.step / position.steps, hires=position.hires) if acts else 0.0


def all_cond(spec: ControlUnit, *, hires: bool) -> bool:
    """Return whether every row counts as conditional for a unit in a pass."""
    return hires and spec.semantics is not None and spec.semantics.all_cond


def mode_of(spec: ControlUnit, *, hires: bool) -> ControlMode:
    """Return the control mode: in the hires pass of sd-webui-controlnet, some maps get soft weights."""
    soft = hires and spec.semantics is not None and any(each.name in SOFT_IN_HIRES for each in spec.stages)
    return "prompt" if soft and spec.control_mode == "balanced" else spec.control_mode


def faded(weight: float, schedule: Schedule) -> float:
    """Return a weight's magnitude as a share of the largest that its schedule has.

    >>> from lib_ctrlgen.request.schedule import parse_schedule
    >>> faded(0.5, parse_schedule("2>0")), faded(-0.5, parse_schedule("-0.5"))
    (0.25, 1.0)
    """
    return abs(weight) / max(map(abs, schedule.bounds))


def attention_factors(row_weights: Sequence[RowWeight], weighting: LayerWeighting) -> tuple[Factor, ...]:
    """Return for each cross attention the factors of its rows; a unit's layer weights multiply them."""
    numbers = []
    for each in row_weights:
        own = weighting.at(each.weight, each.fade)
        layers = each.layers or (1.0,) * len(own)
        numbers.append([weight * layer for weight, layer in zip(own, layers, strict=True)])
    return tuple(factor(layer) for layer in zip(*numbers, strict=True))


def layer_factors(
    row_weights: Sequence[RowWeight | None], layers: int, softness: Sequence[float] | None = None
) -> tuple[Factor, ...]:
    """Return for each layer the factors of its rows; rows without a row weight get 0.

    `softness` is the factor per layer of the modes `prompt` and `control`; the default is `soft_weights`.
    """
    curve = soft_weights(layers) if softness is None else softness
    numbers = [
        (0.0,) * layers if row_weight is None else row_weight.per_layer(curve) for row_weight in row_weights
    ]
    return tuple(factor(each) for each in zip(*numbers, strict=True))


def strengths(row_weights: Sequence[RowWeight | None]) -> Factor:
    """Return the mask strength (0..1) of each row; rows without a row weight get 0."""
    return factor([0.0 if row_weight is None else row_weight.strength for row_weight in row_weights])
