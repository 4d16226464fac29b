"""Finds units that act in no step: an error, or a warning if the unit's weight is 0 or its window empty.

>>> from .spec import ControlUnit
>>> late = ControlUnit(model="edges", guidance_start=0.96)
>>> require_acting([(0, late)], {False: 20}, planned([(0, late)], {False: 20}))  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
lib_ctrlgen.errors.RequestError: $.units[0].guidance_start: the unit acts in none of the 20 steps: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError

from .notices import Notice
from .spec import ControlUnit

Units: TypeAlias = Sequence[tuple[int | str, ControlUnit]]
# The number of steps of each pass; the key says whether it is the hires pass.
Passes: TypeAlias = Mapping[bool, int]
# The passes in which each unit acted, by the unit's index.
Acted: TypeAlias = AbstractSet[tuple[int | str, bool]]


def planned(units: Units, passes: Passes) -> Acted:
    """The units whose schedule is not zero in some step, with the passes of these steps."""
    return {
        (place, hires)
        for hires, steps in passes.items()
        for place, unit in units
        if any(unit.sample(steps, hires=hires))
    }


def idle_note(units: Units, steps: int) -> str:
    """The warnings, or the error, of a run with this number of steps in each pass, as lines of text."""
    passes = {hires: steps for hires in (False, True) if not hires or any(unit.hires for _, unit in units)}
    try:
        return "\n".join(map(str, require_acting(units, passes, planned(units, passes))))
    except RequestError as error:
        return str(error)


def require_acting(units: Units, passes: Passes, acted: Acted) -> list[Notice]:
    """Return warnings for the units that did not act in some pass, by `acted`.

    A weight of 0 or an empty window may be intended (in a cell of a grid), so it is a warning. Raises
    RequestError for a unit that has a weight and a window but acts in no step of any pass.
    """
    notices = []
    for place, unit in units:
        if isinstance(place, int):
            idle = [hires for hires in passes if (place, hires) not in acted]
            notices += _judged(f"$.units[{place}]", unit, passes, idle)
    return notices


def _judged(path: str, unit: ControlUnit, passes: Passes, idle: Sequence[bool]) -> list[Notice]:
    """The warnings for one unit; `idle` states for each pass that it does not act. Raises RequestError."""
    wanted = [hires for hires in passes if not _is_off(unit, hires=hires)]
    if not wanted:
        return [_off(path, unit)]
    silent = [hires for hires in idle if hires in wanted]
    if len(idle) == len(passes) and silent:
        counted = " nor ".join(_steps(hires, passes[hires]) for hires in silent)
        raise RequestError(_place(path, unit), f"the unit acts in none of {counted}: {_why(unit, passes)}")
    return [
        Notice(_place(path, unit), f"the unit acts in none of {_steps(hires, passes[hires])}")
        for hires in silent
    ]


def _is_off(unit: ControlUnit, *, hires: bool) -> bool:
    """Whether the unit's weight, layer weights or window are zero or empty in a pass."""
    weight = unit.hires if hires and unit.hires is not None else unit.weight
    layers = unit.layer_weights
    return (
        (unit.guidance_start == unit.guidance_end and unit.semantics is None)
        or weight.bounds == (0.0, 0.0)
        or (layers is not None and all(layer.bounds == (0.0, 0.0) for layer in layers))
    )


def _off(path: str, unit: ControlUnit) -> Notice:
    if unit.guidance_start == unit.guidance_end and unit.semantics is None:
        window = f"{unit.guidance_start:g}..{unit.guidance_end:g}"
        return Notice(f"{path}.guidance_end", f"the window {window} is empty: the unit does nothing")
    if unit.weight.bounds == (0.0, 0.0):
        return Notice(f"{path}.weight", "the weight is 0: the unit does nothing")
    return Notice(f"{path}.layer_weights", "all layer weights are 0: the unit does nothing")


def _place(path: str, unit: ControlUnit) -> str:
    """The field that keeps a unit from acting."""
    if unit.guidance_start > 0:
        return f"{path}.guidance_start"
    return f"{path}.guidance_end" if unit.guidance_end < 1 else f"{path}.weight"


def _steps(hires: bool, steps: int) -> str:
    return f"the {steps} steps" + (" of the hires pass" if hires else "")


def _why(unit: ControlUnit, passes: Passes) -> str:
    places = " and ".join(f"i / {steps}" for steps in dict.fromkeys(passes.values()))
    window = f"{unit.guidance_start:g}..{unit.guidance_end:g}"
    return (
        f"its weight '{unit.weight}' in its window {window} is 0 at every step, whose progress is {places}; "
        "widen the window, take more steps, or switch the unit off"
    )
