"""What the REST routes of a tuner job's ratings answer, as types."""

from __future__ import annotations

from .answers import Answer


class RatedCell(Answer, frozen=True, kw_only=True):
    """The stars of a cell (0 without), whether it is a favourite, and when it was rated (ms since 1970)."""

    stars: int = 0
    favourite: bool = False
    at: int = 0


class BlindVote(Answer, frozen=True, kw_only=True):
    """A blind vote: the keys of the cells that were shown, and of those that were picked, the best first."""

    shown: list[str]
    order: tuple[str, ...] = ()
    at: int = 0


class CellStrength(Answer, frozen=True, kw_only=True):
    """The result of the blind votes for a cell.

    value, error  the strength, a logarithm of odds, with its standard error
    votes         the number of votes in which the cell was shown
    share         the share of votes that it would win against an average cell
    low, high     the 95 % interval of the share
    """

    value: float
    error: float
    votes: int
    share: float
    low: float
    high: float


class RatingsAnswer(Answer, frozen=True, kw_only=True):
    """The ratings of a tuner job: cells by their keys, votes by their names, and what the votes say."""

    cells: dict[str, RatedCell]
    votes: dict[str, BlindVote]
    strengths: dict[str, CellStrength]
