"""Residuals that are used again at later steps: the unweighted ones, by unit and row.

Whether a row's are to be used is no state: its dose names the step they have to be of. Rows are told
by what they are and not by their place, so a step may have any number of U-Net calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from lib_ctrlgen.unet.call import RowName, UNetCall
from lib_ctrlgen.unet.residuals import Residuals, joined

from .base import ActingUnit, Size

Piece: TypeAlias = tuple[Residuals, int]  # one row of several


@dataclass(frozen=True)
class Answer:
    """One row of what a network gave: for the units with these weights, at the step `since`.

    `used` is the step at which it was used last.
    """

    since: int
    joined: tuple[tuple[Hashable, float], ...]
    residuals: Residuals
    row: int
    used: int


@dataclass
class ReusedResiduals:
    """What units with `reuse` keep while a session is open, and where its last call stood."""

    answers: dict[tuple[tuple[Hashable, ...], RowName], Answer] = field(default_factory=dict)
    stands: tuple[bool, int, Size] | None = None
    step: int = 0

    def clear(self) -> None:
        """Forget everything."""
        self.answers.clear()
        self.stands = None

    def move(self, call: UNetCall) -> None:
        """To the place of a call: another pass, another size or an earlier step begins anew."""
        position = call.position
        stands = (position.hires, position.steps, call.size)
        if stands != self.stands or position.step < self.step:
            self.clear()
        self.stands, self.step = stands, position.step

    def due(self, each: ActingUnit, rows: Sequence[int], call: UNetCall) -> list[int]:
        """Those of a unit's rows that its network has to be asked for. What they kept is dropped."""
        found = [row for row in rows if self.answer(each, row, call) is None]
        for row in found:
            for name in call.names[row]:
                self.answers.pop((each.name, name), None)
        return found

    def answer(self, each: ActingUnit, row: int, call: UNetCall) -> Answer | None:
        """What a row may use again: of the right step and weights, and not twice in one step."""
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
        """The residuals of all of a unit's rows: `found`, of those that were asked for, and kept ones."""
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
        """Keep what a network gave for a row, for all rows that it stands for, if it is to be used again."""
        dose = each.doses[row]
        if dose is not None and dose.since is not None:
            answer = Answer(dose.since, each.joined, *piece, call.position.step)
            self.answers.update({(each.name, name): answer for name in call.names[row]})

    def again(self, each: ActingUnit, row: int, call: UNetCall) -> Piece:
        """What is kept for a row."""
        for name in call.names[row]:
            answer = self.answers[each.name, name]
            self.answers[each.name, name] = replace(answer, used=call.position.step)
        return answer.residuals, answer.row


def gathered(pieces: Sequence[Piece]) -> Residuals:
    """Rows of several `Residuals` as one; views where they follow each other in one."""
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: id(piece[0]))]
    parts = [group[0][0].select([row for _, row in group]) for group in groups]
    return parts[0] if len(parts) == 1 else joined(parts)
