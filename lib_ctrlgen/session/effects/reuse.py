"""Caches unweighted residuals by unit and row, for units with `reuse`, which use them at later steps.

The plan decides when they are used: a row weight names the step in which they must have been computed.
Rows are identified by their name (image, concept, cond), not by their place in the batch, so that a
step may have any number of U-Net calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from lib_ctrlgen.unet.call import RowName, UNetCall
from lib_ctrlgen.unet.residuals import Residuals, joined

from .base import ActingUnit, Size

Piece: TypeAlias = tuple[Residuals, int]  # residuals, and the index of one row of them


@dataclass(frozen=True)
class CachedRow:
    """The residuals that a network computed for one row at the step `since`.

    `joined` are the keys and weights of the units that were merged for it; `used` is the last step that
    used it.
    """

    since: int
    joined: tuple[tuple[Hashable, float], ...]
    residuals: Residuals
    row: int
    used: int


@dataclass
class ReusedResiduals:
    """The cached residuals of units with `reuse`, and the position of the session's last call."""

    cache: dict[tuple[tuple[Hashable, ...], RowName], CachedRow] = field(default_factory=dict)
    pass_key: tuple[bool, int, Size] | None = None
    step: int = 0

    def clear(self) -> None:
        """Clear all cached residuals."""
        self.cache.clear()
        self.pass_key = None

    def move(self, call: UNetCall) -> None:
        """Record a call's position; clear the cache for another pass, another size or an earlier step."""
        position = call.position
        pass_key = (position.hires, position.steps, call.size)
        if pass_key != self.pass_key or position.step < self.step:
            self.clear()
        self.pass_key, self.step = pass_key, position.step

    def due(self, each: ActingUnit, rows: Sequence[int], call: UNetCall) -> list[int]:
        """Return the rows of a unit that its network must compute; their cached residuals are dropped."""
        found = [row for row in rows if self.cached(each, row, call) is None]
        for row in found:
            for name in call.names[row]:
                self.cache.pop((each.name, name), None)
        return found

    def cached(self, each: ActingUnit, row: int, call: UNetCall) -> CachedRow | None:
        """Return the cached residuals that a row may use, None if its network must run.

        They must come from the planned step and the same merged weights, and not be used in this step yet.
        """
        row_weight, step = each.row_weights[row], call.position.step
        if row_weight is None or row_weight.since is None or row_weight.since == step:
            return None
        found = [self.cache.get((each.name, name)) for name in call.names[row]]
        right = [
            one
            for one in found
            if one and (one.since, one.joined) == (row_weight.since, each.joined) and one.used < step
        ]
        return right[0] if len(right) == len(found) else None

    def taken(
        self,
        each: ActingUnit,
        rows: Sequence[int],
        asked: Sequence[int],
        found: Residuals | None,
        call: UNetCall,
    ) -> Residuals:
        """Return the residuals of all of a unit's rows, from `found` for the rows `asked`, else cached."""
        places = {row: place for place, row in enumerate(asked)}
        pieces: list[Piece] = []
        for row in rows:
            if found is not None and row in places:
                pieces.append((found, places[row]))
                self.keep(each, row, pieces[-1], call)
            else:
                pieces.append(self.reused(each, row, call))
        return gathered(pieces)

    def keep(self, each: ActingUnit, row: int, piece: Piece, call: UNetCall) -> None:
        """Cache one row's residuals, for all rows that share it, if the unit has `reuse`."""
        row_weight = each.row_weights[row]
        if row_weight is not None and row_weight.since is not None:
            cached = CachedRow(row_weight.since, each.joined, *piece, call.position.step)
            self.cache.update({(each.name, name): cached for name in call.names[row]})

    def reused(self, each: ActingUnit, row: int, call: UNetCall) -> Piece:
        """Return a row's cached residuals, and record that this step used them."""
        for name in call.names[row]:
            cached = self.cache[each.name, name]
            self.cache[each.name, name] = replace(cached, used=call.position.step)
        return cached.residuals, cached.row


def gathered(pieces: Sequence[Piece]) -> Residuals:
    """Join rows of several `Residuals` into one; a view if they are consecutive rows of a single one."""
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: id(piece[0]))]
    parts = [group[0][0].select([row for _, row in group]) for group in groups]
    return parts[0] if len(parts) == 1 else joined(parts)
