"""The Pareto front over all scores, and one recommended cell with the reason in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .catalogue import gain, kind_of, less_is_better, score_label, score_names

NEAR = 0.95  # the share of the best score from which a cell counts as near the best
TIE = 1e-9
MISSING = 1e9  # the sort key of a cell that lacks a cost
MOST_TIES = 4  # tied cells that a reason names
LIKENESS = ("reference", "prompt")  # the scores that decide if no cell has adherence

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The recommended cell's number, the reason in a sentence, and the cells that are exactly as good."""

    cell: int
    reason: str
    tied: tuple[int, ...] = ()


def front(cells: Sequence[Numbers]) -> tuple[int, ...]:
    """The numbers of the cells that no other cell beats (the Pareto front).

    A cell beats another one if it has every score of the other, each at least as good, and is better in one
    of them or has an additional score.
    """
    return tuple(i for i, one in enumerate(cells) if one and not any(_beats(other, one) for other in cells))


def _beats(one: Numbers, other: Numbers) -> bool:
    if not set(one) >= set(other):
        return False
    gains = [gain(name, one[name], other[name]) for name in other]
    return all(each >= 0 for each in gains) and (len(one) > len(other) or any(each > TIE for each in gains))


def best_scores(cells: Sequence[Numbers]) -> dict[int, list[str]]:
    """The scores in which each cell is the best; a score in which all cells are equal is left out.

    >>> best_scores([{"adherence.0": 0.5, "over_control": 0}, {"adherence.0": 0.9, "over_control": 0.2}])
    {1: ['adherence.0'], 0: ['over_control']}
    """
    found: dict[int, list[str]] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell):
        scored = {i: gain(name, cell[name], 0.0) for i, cell in enumerate(cells) if name in cell}
        best = max(scored.values())
        first = [i for i, value in scored.items() if best - value <= TIE]
        if len(first) < len(scored):
            for i in first:
                found.setdefault(i, []).append(name)
    return found


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The cells that are candidates for the recommendation.

    kinds  the scores that decide between them: the first one; if cells are equal in it the second; and so on
    order  the cells' numbers, the best first
    keys   the sort key of each cell: its scores of `kinds`, negated if more is better
    """

    kinds: tuple[str, ...]
    order: tuple[int, ...]
    keys: Mapping[int, tuple[float, ...]]

    @property
    def score(self) -> str:
        """The score that decides between the first two cells."""
        first, *others = (self.keys[i] for i in self.order[:2])
        for kind, a, b in zip(self.kinds, first, others[0] if others else first, strict=True):
            if abs(a - b) > TIE:
                return kind
        return self.kinds[0]

    @property
    def tied(self) -> tuple[int, ...]:
        """The cells that are exactly as good as the first one."""
        first, *others = self.order
        pairs = {i: zip(self.keys[first], self.keys[i], strict=True) for i in others}
        return tuple(i for i, pair in pairs.items() if all(abs(a - b) <= TIE for a, b in pair))


def candidates_of(cells: Sequence[Numbers]) -> Candidates | None:
    """The cells to choose from, in order; None if nothing was scored.

    With adherence, they are the cells within 5 % of the best adherence; of these, if there is a reference,
    the cells within 5 % of the best likeness to it; the least over-control comes first. Without adherence,
    they are all cells, with the most likeness to the reference first, or else to the prompt. Of equal cells
    the earlier one comes first.

    Scores that are not named here decide later: those of which less is better after over-control, then those
    of which more is better (these decide first if none of the named scores was measured). Scores of which
    less is better recommend nothing on their own.
    """
    following = near(cells, "adherence", range(len(cells)))
    if following:
        among = near(cells, "reference", following) or following
        return _ordered(cells, [*costs(), "reference", "adherence", *others()], among)
    for name in (*LIKENESS, *others()):
        among = [i for i, cell in enumerate(cells) if _has(cell, name)]
        if among:
            further = [kind for kind in (*costs(), *others()) if kind not in {"over_control", name}]
            return _ordered(cells, [name, *further], among)
    return None


def costs() -> list[str]:
    """The scores of which less is better."""
    return [name for name in score_names() if less_is_better(name)]


def others() -> list[str]:
    """The scores of which more is better and that the rule of `candidates_of` does not name."""
    named = {"adherence", *LIKENESS}
    return [name for name in score_names() if not less_is_better(name) and name not in named]


def near(cells: Sequence[Numbers], kind: str, among: Sequence[int]) -> list[int]:
    """The cells of `among` whose score is within 5 % of the best one; none if no score is positive."""
    found = {i: value for i in among if (value := mean_of(cells[i], kind)) is not None}
    best = max(found.values(), default=0.0)
    return [i for i, value in found.items() if value >= NEAR * best] if best > 0 else []


def _ordered(cells: Sequence[Numbers], kinds: Sequence[str], among: Sequence[int]) -> Candidates:
    """The cells of `among`, the best first: by the first of these scores, then by the second, and so on."""
    scored = [kind for kind in kinds if any(_has(cells[i], kind) for i in among)]
    keys = {i: tuple(_sort_key(cells[i], kind) for kind in scored) for i in among}
    return Candidates(kinds=tuple(scored), order=tuple(sorted(among, key=keys.__getitem__)), keys=keys)


def _sort_key(cell: Numbers, kind: str) -> float:
    """A cell's score as a sort key, smaller is better. A cell without a cost comes last.

    Over-control is an exception: a cell without units has no over-control, which counts as 0.
    """
    value = mean_of(cell, kind)
    if value is None and less_is_better(kind) and kind != "over_control":
        return MISSING
    return -gain(kind, value or 0.0, 0.0)


def _has(cell: Numbers, kind: str) -> bool:
    return mean_of(cell, kind) is not None


def recommend(cells: Sequence[Numbers], names: Sequence[str] = ()) -> Recommendation | None:
    """The recommended cell: the first one of `candidates_of`. None if nothing was scored.

    `names` are the cells' names, with which the reason lists cells that are exactly as good.
    """
    found = candidates_of(cells)
    if found is None:
        return None
    chosen, tied = found.order[0], found.tied
    why = _lines if near(cells, "adherence", range(len(cells))) else _likeness
    return Recommendation(cell=chosen, reason=why(cells, found) + _ties(tied, names), tied=tied)


def mean_of(cell: Numbers, kind: str) -> float | None:
    """The mean over the units' scores of a kind, such as `adherence.0` and `adherence.1`."""
    found = [value for name, value in cell.items() if kind_of(name) == kind]
    return sum(found) / len(found) if found else None


def _likeness(cells: Sequence[Numbers], found: Candidates) -> str:
    kind = found.kinds[0]
    return f"It has the most {score_label(kind)}: {mean_of(cells[found.order[0]], kind) or 0.0:.2f}."


def _lines(cells: Sequence[Numbers], found: Candidates) -> str:
    """The reason for a cell with adherence."""
    chosen, following = found.order[0], near(cells, "adherence", range(len(cells)))
    cell = cells[chosen]
    parts = [_within(cells, chosen, "adherence", range(len(cells)), "Its adherence is {:.2f}")]
    if near(cells, "reference", following):
        template = "of such cells, its likeness to the reference is {:.2f}"
        parts.append(_within(cells, chosen, "reference", following, template))
    sentence = "; ".join(parts)
    for cost in costs():
        value = mean_of(cell, cost)
        if value is not None:
            return f"{sentence}, with the least {score_label(cost)} of such cells ({value:.2f})."
    return f"{sentence}."


def _within(cells: Sequence[Numbers], chosen: int, kind: str, among: Sequence[int], template: str) -> str:
    best = max(mean_of(cells[i], kind) or 0.0 for i in among)
    share = f", within {1 - NEAR:.0%} of the best ({best:.2f})"
    return template.format(mean_of(cells[chosen], kind) or 0.0) + share


def _ties(tied: Sequence[int], names: Sequence[str]) -> str:
    """A sentence about the cells that are exactly as good as the recommended one."""
    if not tied:
        return ""
    shown = [names[i] for i in tied[:MOST_TIES]] if names else []
    more = f" and {len(tied) - len(shown)} more" if shown and len(tied) > len(shown) else ""
    which = f" ({'; '.join(shown)}{more})" if shown else ""
    count = "Another cell is" if len(tied) == 1 else f"{len(tied)} other cells are"
    return f" {count} exactly as good by these scores{which}; the first one is recommended."
