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
class Answer:
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

    answers: dict[tuple[tuple[Hashable, ...], RowName], Answer] = field(default_factory=dict)
    stands: tuple[bool, int, Size] | None = None
    step: int = 0

    def clear(self) -> None:
        """Clear all cached residuals."""
        self.answers.clear()
        self.stands = None

    def move(self, call: UNetCall) -> None:
        """Record a call's position; clear the cache for another pass, another size or an earlier step."""
        position = call.position
        stands = (position.hires, position.steps, call.size)
        if stands != self.stands or position.step < self.step:
            self.clear()
        self.stands, self.step = stands, position.step

    def due(self, each: ActingUnit, rows: Sequence[int], call: UNetCall) -> list[int]:
        """Return the rows of a unit that its network must compute; their cached residuals are dropped."""
        found = [row for row in rows if self.answer(each, row, call) is None]
        for row in found:
            for name in call.names[row]:
                self.answers.pop((each.name, name), None)
        return found

    def answer(self, each: ActingUnit, row: int, call: UNetCall) -> Answer | None:
        """Return the cached residuals that a row may use, None if its network must run.

        They must come from the planned step and the same merged weights, and not be used in this step yet.
        """
        dose, step = each.doses[row], call.position.step
        if dose is None or dose.since is None or dose.since == step:
            return None
        found = [self.answers.get((each.name, name)) for name in call.names[row]]
        right = [
            one
            for one in found
            if one and (one.since, one.joined) == (dose.since, each.joined) and one.used < step
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
                pieces.append(self.again(each, row, call))
        return gathered(pieces)

    def keep(self, each: ActingUnit, row: int, piece: Piece, call: UNetCall) -> None:
        """Cache one row's residuals, for all rows that it stands for, if the unit has `reuse`."""
        dose = each.doses[row]
        if dose is not None and dose.since is not None:
            answer = Answer(dose.since, each.joined, *piece, call.position.step)
            self.answers.update({(each.name, name): answer for name in call.names[row]})

    def again(self, each: ActingUnit, row: int, call: UNetCall) -> Piece:
        """Return a row's cached residuals, and record that this step used them."""
        for name in call.names[row]:
            answer = self.answers[each.name, name]
            self.answers[each.name, name] = replace(answer, used=call.position.step)
        return answer.residuals, answer.row


def gathered(pieces: Sequence[Piece]) -> Residuals:
    """Join rows of several `Residuals` into one; a view if they are consecutive rows of a single one."""
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: id(piece[0]))]
    parts = [group[0][0].select([row for _, row in group]) for group in groups]
    return parts[0] if len(parts) == 1 else joined(parts)
