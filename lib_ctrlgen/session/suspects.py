"""Finds the unit that makes a prediction NaN or infinite, by repeating the call with one unit at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.unet.call import Position
from lib_ctrlgen.unet.finite import CheckedCall

from .effects.base import RowWeights

CURES = (
    "The model file may be damaged, may not fit this checkpoint or may overflow in half precision: lower "
    "the weight, take another file, or switch the unit off"
)


@dataclass
class Suspects:
    """Restricts a repeated call at `position` to the units whose index is in `indices`."""

    position: Position
    indices: frozenset[int | str] = frozenset()

    def alone(self, row_weights: Sequence[RowWeights], parts: Sequence[ActiveUnit]) -> list[RowWeights]:
        """Return the row weights of each part, with None in every row for units not in `indices`."""
        return [
            each if part.index in self.indices else (None,) * len(each)
            for each, part in zip(row_weights, parts, strict=True)
        ]


def not_finite(call: CheckedCall, acting: Sequence[ActiveUnit], suspects: Suspects) -> CtrlGenError:
    """Return the error for a call whose prediction is not finite; `acting` are the units that acted in it.

    It is a RequestError with the path of the first unit that alone makes the prediction NaN or infinite,
    a RequestError at `$.units` if only all units together do, and a HostError if the U-Net without units
    is not finite or the call cannot be repeated.
    """
    position = call.position
    where = f"step {position.step + 1} of {position.steps}" + (" of the hires pass" if position.hires else "")
    problem = f"the U-Net's prediction is not finite (NaN or infinity) at {where}"
    try:
        return _blamed(call, acting, suspects, problem)
    except RuntimeError as error:
        return HostError(f"{problem}, and the call cannot be repeated to find the cause: {error}")


def _blamed(
    call: CheckedCall, acting: Sequence[ActiveUnit], suspects: Suspects, problem: str
) -> CtrlGenError:
    if not call.repeat():
        return HostError(
            f"{problem}, also without any unit: the checkpoint is damaged or overflows in half precision; in "
            "the WebUI try --upcast-sampling or --no-half"
        )
    units = {each.index: each for each in acting}
    for index, unit in units.items():
        suspects.indices = frozenset({index})
        if not call.repeat():
            return RequestError(unit.path, f"with '{unit.spec.label}' {problem}. {CURES}")
    suspects.indices = frozenset(units)
    if call.repeat():
        return HostError(f"{problem}, but not when the call is repeated: is the device's memory damaged?")
    return RequestError(
        "$.units", f"with all units {problem}, with each alone it is finite: lower the weights"
    )
