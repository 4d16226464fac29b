"""Merges units that share one network which takes several control maps at once (ControlNet Union)."""

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
    """Units that are merged on a row because they act with the same mode and layer weights (`look`).

    `places` are their positions in the group, `weights` their weights within the network. For a single
    unit `weights` is empty and `look` the default: its weight is applied to its residuals instead.
    """

    places: tuple[int, ...]
    weights: tuple[float, ...] = ()
    look: Look = ("balanced", None)


def fused(acting: Sequence[ActingUnit]) -> list[ActingUnit]:
    """Merge units that share one network and act on the same rows in the same way; keep all others.

    The network then runs once for them. A unit with a mask is never merged, because its mask is applied
    to its own residuals.
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
    """Merge units of one network row by row; each result acts on the rows on which its units meet."""
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
    """Return the keys and weights of the merged units, nothing for a single unit."""
    units = [group[place].unit.key for place in meeting.places]
    return tuple(zip(units, meeting.weights, strict=True)) if meeting.weights else ()


def meetings(doses: RowWeights) -> list[tuple[Meeting, RowWeight]]:
    """Group units by mode and layer weights on one row, each group with its common row weight.

    `doses` holds the row weight of each unit of the network on this row.
    """
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
    """Return the latest step in which the plan runs the network for one of the units.

    The network then runs for all of them. None if a unit has no `reuse`: the network runs at every step.
    """
    steps = [dose.since for dose in doses]
    known = [step for step in steps if step is not None]
    return max(known) if len(known) == len(steps) else None


def _unit(group: Sequence[ActingUnit], meeting: Meeting) -> ActiveUnit:
    """Return the only unit of a meeting, or the first unit with the merged control of all."""
    first = group[meeting.places[0]].unit
    if not meeting.weights:
        return first
    return replace(first, control=together([group[p].unit.control for p in meeting.places], meeting.weights))


def together(controls: Sequence[object], weights: Sequence[float]) -> BatchedControl:
    """Merge several controls into one. Raises TypeError if one of them is not a FusableControl."""
    fusable = [control for control in controls if isinstance(control, FusableControl)]
    if len(fusable) < len(controls):
        raise TypeError("these controls share one network, but not all of them can be fused")
    return fusable[0].fused(list(zip(fusable, weights, strict=True)))
