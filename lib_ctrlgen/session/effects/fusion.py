"""Merges units that share one network which takes several control maps at once (ControlNet Union)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lib_ctrlgen.controls.protocols import BatchedControl, FusableControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.row_weights import RowWeight

from .base import ActingUnit, RowWeights

LayerMode: TypeAlias = tuple[str, tuple[float, ...] | None]


@dataclass(frozen=True)
class MergedUnits:
    """Units that are merged on a row because they act with the same mode and layer weights (`layer_mode`).

    `places` are their positions in the group, `weights` their weights within the network. For a single
    unit `weights` is empty and `layer_mode` the default: its weight is applied to its residuals instead.
    """

    places: tuple[int, ...]
    weights: tuple[float, ...] = ()
    layer_mode: LayerMode = ("balanced", None)


def fused(acting: Sequence[ActingUnit]) -> list[ActingUnit]:
    """Merge units that share one network and act on the same rows in the same way; keep all others.

    The network then runs once for them. A unit with a mask is never merged, because its mask is applied
    to its own residuals, nor is one with assigned control maps, nor one with the semantics of
    sd-webui-controlnet, which merges none.
    """
    groups: dict[int, list[ActingUnit]] = {}
    others: list[ActingUnit] = []
    for each in acting:
        control = each.unit.control
        alone = each.unit.mask is not None or each.maps is not None or each.unit.spec.semantics is not None
        if isinstance(control, FusableControl) and not alone:
            groups.setdefault(id(control.model), []).append(each)
        else:
            others.append(each)
    return [*others, *(one for group in groups.values() for one in joined(group))]


def joined(group: Sequence[ActingUnit]) -> list[ActingUnit]:
    """Merge units of one network row by row; each result acts on the rows on which its units are merged."""
    rows = range(len(group[0].row_weights))
    found: dict[MergedUnits, list[RowWeight | None]] = {}
    for row in rows:
        for merged, row_weight in merged_units([each.row_weights[row] for each in group]):
            found.setdefault(merged, [None] * len(rows))[row] = row_weight
    return [
        ActingUnit(
            unit=_unit(group, merged),
            row_weights=row_weights,
            joined=_joined(group, merged),
            merged=tuple(group[place].unit.index for place in merged.places),
        )
        for merged, row_weights in found.items()
    ]


def _joined(group: Sequence[ActingUnit], merged: MergedUnits) -> tuple[tuple[Hashable, float], ...]:
    """Return the keys and weights of the merged units, nothing for a single unit."""
    units = [group[place].unit.key for place in merged.places]
    return tuple(zip(units, merged.weights, strict=True)) if merged.weights else ()


def merged_units(row_weights: RowWeights) -> list[tuple[MergedUnits, RowWeight]]:
    """Group units by mode and layer weights on one row, each group with its common row weight.

    `row_weights` holds the row weight of each unit of the network on this row.
    """
    alike: dict[LayerMode, list[tuple[int, RowWeight]]] = {}
    for place, row_weight in enumerate(row_weights):
        if row_weight is not None:
            alike.setdefault((row_weight.mode, row_weight.layers), []).append((place, row_weight))
    return [_merged(layer_mode, members) for layer_mode, members in alike.items()]


def _merged(layer_mode: LayerMode, members: Sequence[tuple[int, RowWeight]]) -> tuple[MergedUnits, RowWeight]:
    places = tuple(place for place, _ in members)
    row_weight = members[0][1]
    if len(members) == 1:
        return MergedUnits(places), row_weight
    weights = tuple(each.weight for _, each in members)
    return MergedUnits(places, weights, layer_mode), replace(
        row_weight, weight=1.0, since=_since([d for _, d in members])
    )


def _since(row_weights: Sequence[RowWeight]) -> int | None:
    """Return the latest step in which the plan runs the network for one of the units.

    The network then runs for all of them. None if a unit has no `reuse`: the network runs at every step.
    """
    steps = [row_weight.since for row_weight in row_weights]
    known = [step for step in steps if step is not None]
    return max(known) if len(known) == len(steps) else None


def _unit(group: Sequence[ActingUnit], merged: MergedUnits) -> ActiveUnit:
    """Return the unit itself if it is not merged, else the first unit with the merged control of all."""
    first = group[merged.places[0]].unit
    if not merged.weights:
        return first
    return replace(first, control=together([group[p].unit.control for p in merged.places], merged.weights))


def together(controls: Sequence[object], weights: Sequence[float]) -> BatchedControl:
    """Merge several controls into one. Raises TypeError if one of them is not a FusableControl."""
    fusable = [control for control in controls if isinstance(control, FusableControl)]
    if len(fusable) < len(controls):
        raise TypeError("these controls share one network, but not all of them can be fused")
    return fusable[0].fused(list(zip(fusable, weights, strict=True)))
