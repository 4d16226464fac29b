"""Units whose network looks at several maps at once are one unit on the rows on which they meet."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lib_ctrlgen.controls.protocols import BatchedControl, FusableControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.row_weights import RowWeight

from .base import ActingUnit, RowWeights

Look: TypeAlias = tuple[str, tuple[float, ...] | None]


@dataclass(frozen=True)
class Meeting:
    """Who acts on a row in the same mode and with the same layer weights: places and weights.

    One that is alone keeps its weight on its residuals, so there `weights` and `look` are empty.
    """

    places: tuple[int, ...]
    weights: tuple[float, ...] = ()
    look: Look = ("balanced", None)


def fused(acting: Sequence[ActingUnit]) -> list[ActingUnit]:
    """The same with those joined that share a network and act on a row in the same way.

    A unit with a mask stays by itself: a mask is on residuals.
    """
    groups: dict[int, list[ActingUnit]] = {}
    others: list[ActingUnit] = []
    for each in acting:
        control = each.unit.control
        if isinstance(control, FusableControl) and each.unit.mask is None:
            groups.setdefault(id(control.model), []).append(each)
        else:
            others.append(each)
    return [*others, *(one for group in groups.values() for one in joined(group))]


def joined(group: Sequence[ActingUnit]) -> list[ActingUnit]:
    """Units of one network by who meets whom, each with its rows."""
    rows = range(len(group[0].doses))
    found: dict[Meeting, list[RowWeight | None]] = {}
    for row in rows:
        for meeting, dose in meetings([each.doses[row] for each in group]):
            found.setdefault(meeting, [None] * len(rows))[row] = dose
    return [
        ActingUnit(unit=_unit(group, meeting), doses=doses, joined=_joined(group, meeting))
        for meeting, doses in found.items()
    ]


def _joined(group: Sequence[ActingUnit], meeting: Meeting) -> tuple[tuple[Hashable, float], ...]:
    """The keys and weights of the units that meet; nothing for one that is alone."""
    units = [group[place].unit.key for place in meeting.places]
    return tuple(zip(units, meeting.weights, strict=True)) if meeting.weights else ()


def meetings(doses: RowWeights) -> list[tuple[Meeting, RowWeight]]:
    """Who meets whom on one row, and what they get there together. `doses` are the units' own."""
    alike: dict[Look, list[tuple[int, RowWeight]]] = {}
    for place, dose in enumerate(doses):
        if dose is not None:
            alike.setdefault((dose.mode, dose.layers), []).append((place, dose))
    return [_meeting(look, members) for look, members in alike.items()]


def _meeting(look: Look, members: Sequence[tuple[int, RowWeight]]) -> tuple[Meeting, RowWeight]:
    places = tuple(place for place, _ in members)
    dose = members[0][1]
    if len(members) == 1:
        return Meeting(places), dose
    weights = tuple(each.weight for _, each in members)
    return Meeting(places, weights, look), replace(dose, weight=1.0, since=_since([d for _, d in members]))


def _since(doses: Sequence[RowWeight]) -> int | None:
    """Units that meet are computed together, whenever one of them is to be."""
    steps = [dose.since for dose in doses]
    known = [step for step in steps if step is not None]
    return max(known) if len(known) == len(steps) else None


def _unit(group: Sequence[ActingUnit], meeting: Meeting) -> ActiveUnit:
    """The unit of a meeting: the only one, or the first one with the control of all."""
    first = group[meeting.places[0]].unit
    if not meeting.weights:
        return first
    return replace(first, control=together([group[p].unit.control for p in meeting.places], meeting.weights))


def together(controls: Sequence[object], weights: Sequence[float]) -> BatchedControl:
    """One control for all. Raises TypeError for controls that cannot be fused."""
    fusable = [control for control in controls if isinstance(control, FusableControl)]
    if len(fusable) < len(controls):
        raise TypeError("controls of one network, of which not all look at several maps at once")
    return fusable[0].fused(list(zip(fusable, weights, strict=True)))
