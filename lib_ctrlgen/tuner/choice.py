"""Which cell to take: the Pareto front over all scores, and one recommendation with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Scores of which less is better; of all others more is.
LESS_IS_BETTER = ("over_control",)
NEAR = 0.95  # of the best adherence: what still counts as holding the lines
TIE = 1e-9


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


def recommend(cells: Sequence[Mapping[str, float]]) -> Choice | None:
    """The cell to begin with; None where nothing was scored.

    With adherence: of the cells within 5 % of the best one, that with the least over-control. Else with a
    reference: the most likeness; else the most likeness to the prompt; ties go to the earlier cell.
    """
    adherence = [_mean(cell, "adherence") for cell in cells]
    best = max((value for value in adherence if value is not None), default=None)
    if best is not None and best > 0:
        near = [i for i, value in enumerate(adherence) if value is not None and value >= NEAR * best]
        chosen = min(near, key=lambda i: (cells[i].get("over_control", 0.0), -(adherence[i] or 0.0)))
        return Choice(cell=chosen, reason=_lines(cells[chosen], adherence[chosen] or 0.0, best))
    for name, words in (("reference", "likeness to the reference"), ("prompt", "likeness to the prompt")):
        scored = [(value, -i) for i, cell in enumerate(cells) if (value := _mean(cell, name)) is not None]
        if scored:
            value, place = max(scored)
            return Choice(cell=-place, reason=f"It has the most {words}: {value:.2f}.")
    return None


def _mean(cell: Mapping[str, float], kind: str) -> float | None:
    """The mean over the units' scores of a kind, such as `adherence.0` and `adherence.1`."""
    found = [value for name, value in cell.items() if name.partition(".")[0] == kind]
    return sum(found) / len(found) if found else None


def _lines(cell: Mapping[str, float], adherence: float, best: float) -> str:
    held = (
        f"It follows its controls to {adherence:.2f}, within {1 - NEAR:.0%} of the grid's best ({best:.2f})"
    )
    if "over_control" not in cell:
        return held + "."
    return f"{held}, with the least over-control of such cells ({cell['over_control']:.2f})."
