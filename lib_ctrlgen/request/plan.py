"""The plan: the weight of every unit at every step, computed before sampling and applied by the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_ctrlgen.errors import RequestError

from .spec import ControlUnit


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The plan of one pass.

    weights   `weights[line][step]`; there is a line for each unit, each concept and the guidance scale
    labels    the name of each line
    computed  `computed[line][step]`: the step whose residuals the unit uses, or None if it does not act at
              this step; there are only lines for units
    note      a text with the cost of a blend, and with warnings
    """

    weights: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]
    steps: int
    computed: tuple[tuple[int | None, ...], ...] = ()
    note: str = ""


def compile_plan(
    units: Sequence[tuple[int | str, ControlUnit]], steps: int, *, hires: bool = False
) -> StepPlan:
    """Sample the weight schedules of units at `i / steps` for one pass.

    `units` are pairs of a unit's index (or name) and the unit.

    Raises RequestError if `steps` is less than 1.
    """
    if steps < 1:
        raise RequestError("$.steps", f"must be at least 1, got {steps}")
    return StepPlan(
        weights=tuple(unit.sample(steps, hires=hires) for _, unit in units),
        labels=tuple(_label(*unit) for unit in units),
        steps=steps,
        computed=tuple(computed_at(unit.sample(steps, hires=hires), unit.reuse) for _, unit in units),
    )


def computed_at(weights: Sequence[float], reuse: int) -> tuple[int | None, ...]:
    """Return, for each step, the step whose residuals it uses, or None where the weight is zero.

    Every `reuse`-th of the steps with a weight computes new residuals; the others use the last ones.

    >>> computed_at((0, 1, 1, 0, 0.5, 1), 2)
    (None, 1, 1, None, 4, 4)
    """
    acting = [step for step, weight in enumerate(weights) if weight != 0.0]
    found = {step: acting[place - place % reuse] for place, step in enumerate(acting)}
    return tuple(found.get(step) for step in range(len(weights)))


def _label(index: int | str, unit: ControlUnit) -> str:
    return f"{index} {unit.label}" + (f" (1 of {unit.reuse} steps)" if unit.reuse > 1 else "")
