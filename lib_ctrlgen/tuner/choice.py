"""Which cell to take: the Pareto front over all scores, and one recommendation with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Scores of which less is better; of all others more is.
LESS_IS_BETTER = ("over_control",)
NEAR = 0.95  # of the best adherence: what still counts as holding the lines
TIE = 1e-9
LIKENESS = {"reference": "likeness to the reference", "prompt": "likeness to the prompt"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recommended cell by its number, and why, in a sentence."""

    cell: int
    reason: str


def front(cells: Sequence[Mapping[str, float]]) -> tuple[int, ...]:
    """The cells that no other cell beats: as good in every score that both have, and better in one."""
    return tuple(i for i, one in enumerate(cells) if one and not any(_beats(other, one) for other in cells))


def _beats(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    if set(one) != set(other):
        return False
    gains = [_gain(name, one[name], other[name]) for name in one]
    return all(gain >= 0 for gain in gains) and any(gain > TIE for gain in gains)


def _gain(name: str, one: float, other: float) -> float:
    return other - one if name in LESS_IS_BETTER else one - other


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who competes: cells by their numbers, best first, and the kind of score that decides between them."""

    score: str
    order: tuple[int, ...]


def contest(cells: Sequence[Mapping[str, float]]) -> Contest | None:
    """The cells to choose from; None where nothing was scored.

    With adherence: those within 5 % of the best one, the least over-control first. Else with a reference:
    all, the most likeness first; else the most likeness to the prompt; ties go to the earlier cell.
    """
    adherence = [mean_of(cell, "adherence") for cell in cells]
    best = max((value for value in adherence if value is not None), default=None)
    if best is not None and best > 0:
        near = [i for i, value in enumerate(adherence) if value is not None and value >= NEAR * best]
        near.sort(key=lambda i: (cells[i].get("over_control", 0.0), -(adherence[i] or 0.0)))
        decides = "over_control" if any("over_control" in cells[i] for i in near) else "adherence"
        return Contest(score=decides, order=tuple(near))
    for name in LIKENESS:
        scored = [(-value, i) for i, cell in enumerate(cells) if (value := mean_of(cell, name)) is not None]
        if scored:
            return Contest(score=name, order=tuple(i for _, i in sorted(scored)))
    return None


def recommend(cells: Sequence[Mapping[str, float]]) -> Choice | None:
    """The cell to begin with: the first of the contest. None where nothing was scored."""
    found = contest(cells)
    if found is None:
        return None
    chosen = found.order[0]
    if found.score in LIKENESS:
        value = mean_of(cells[chosen], found.score) or 0.0
        return Choice(cell=chosen, reason=f"It has the most {LIKENESS[found.score]}: {value:.2f}.")
    adherence = [mean_of(cell, "adherence") or 0.0 for cell in cells]
    return Choice(cell=chosen, reason=_lines(cells[chosen], adherence[chosen], max(adherence)))


def mean_of(cell: Mapping[str, float], kind: str) -> float | None:
    """The mean over the units' scores of a kind, such as `adherence.0` and `adherence.1`."""
    found = [value for name, value in cell.items() if name.partition(".")[0] == kind]
    return sum(found) / len(found) if found else None


def _lines(cell: Mapping[str, float], adherence: float, best: float) -> str:
    held = f"It follows its controls to {adherence:.2f}, within {1 - NEAR:.0%} of the best ({best:.2f})"
    if "over_control" not in cell:
        return held + "."
    return f"{held}, with the least over-control of such cells ({cell['over_control']:.2f})."
