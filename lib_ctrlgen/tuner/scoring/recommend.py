"""Which cell to take: the Pareto front over all scores, and one recommendation with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Scores of which less is better; of all others more is.
LESS_IS_BETTER = ("over_control",)
NEAR = 0.95  # of the best score: what still counts as following a control or a reference
TIE = 1e-9
TOLD = 4  # tied cells that a reason names
LIKENESS = {"reference": "likeness to the reference", "prompt": "likeness to the prompt"}
LABELS = {"adherence": "adherence", **LIKENESS, "over_control": "over-control"}

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recommended cell by its number, and why, in a sentence. `tied` are the cells that are as good."""

    cell: int
    reason: str
    tied: tuple[int, ...] = ()


def front(cells: Sequence[Numbers]) -> tuple[int, ...]:
    """The cells that no other cell beats.

    A cell beats another one if it has every score of the other, each at least as good, and is better in one
    of them or has one more.
    """
    return tuple(i for i, one in enumerate(cells) if one and not any(_beats(other, one) for other in cells))


def _beats(one: Numbers, other: Numbers) -> bool:
    if not set(one) >= set(other):
        return False
    gains = [_gain(name, one[name], other[name]) for name in other]
    return all(gain >= 0 for gain in gains) and (len(one) > len(other) or any(gain > TIE for gain in gains))


def _gain(name: str, one: float, other: float) -> float:
    return other - one if name in LESS_IS_BETTER else one - other


def leaders(cells: Sequence[Numbers]) -> dict[int, list[str]]:
    """The scores in which each cell is the best; where all cells are equal in a score, none is.

    >>> leaders([{"adherence.0": 0.5, "over_control": 0}, {"adherence.0": 0.9, "over_control": 0.2}])
    {1: ['adherence.0'], 0: ['over_control']}
    """
    found: dict[int, list[str]] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell):
        scored = {i: _gain(name, cell[name], 0.0) for i, cell in enumerate(cells) if name in cell}
        best = max(scored.values())
        first = [i for i, value in scored.items() if best - value <= TIE]
        if len(first) < len(scored):
            for i in first:
                found.setdefault(i, []).append(name)
    return found


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who competes: cells by their numbers, best first.

    kinds  the scores that decide between them, the second one where the first is equal, and so on
    keys   each cell's numbers for these, less is better
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


def contest(cells: Sequence[Numbers]) -> Contest | None:
    """The cells to choose from; None where nothing was scored.

    With adherence: those within 5 % of the best one; of these, with a reference, those within 5 % of the most
    likeness to it; the least over-control first. Without adherence: all, the most likeness to the reference
    first; without a reference the most likeness to the prompt. Ties go to the earlier cell.
    """
    following = near(cells, "adherence", range(len(cells)))
    if following:
        return _least_overdone(cells, near(cells, "reference", following) or following)
    for name in LIKENESS:
        keys = {i: (-value,) for i, cell in enumerate(cells) if (value := mean_of(cell, name)) is not None}
        if keys:
            return Contest(kinds=(name,), order=tuple(sorted(keys, key=keys.__getitem__)), keys=keys)
    return None


def near(cells: Sequence[Numbers], kind: str, among: Sequence[int]) -> list[int]:
    """Those of some cells whose score of a kind is within 5 % of their best; none where none is positive."""
    found = {i: value for i in among if (value := mean_of(cells[i], kind)) is not None}
    best = max(found.values(), default=0.0)
    return [i for i, value in found.items() if value >= NEAR * best] if best > 0 else []


def _least_overdone(cells: Sequence[Numbers], among: Sequence[int]) -> Contest:
    kinds = [k for k in ("over_control", "reference", "adherence") if any(_has(cells[i], k) for i in among)]
    keys = {i: tuple(-_gain(k, mean_of(cells[i], k) or 0.0, 0.0) for k in kinds) for i in among}
    return Contest(kinds=tuple(kinds), order=tuple(sorted(among, key=keys.__getitem__)), keys=keys)


def _has(cell: Numbers, kind: str) -> bool:
    return mean_of(cell, kind) is not None


def recommend(cells: Sequence[Numbers], names: Sequence[str] = ()) -> Choice | None:
    """The cell to begin with: the first of the contest. None where nothing was scored.

    `names` are what the cells are called, for the reason to name those that tie.
    """
    found = contest(cells)
    if found is None:
        return None
    chosen, tied = found.order[0], found.tied
    why = _lines if near(cells, "adherence", range(len(cells))) else _likeness
    return Choice(cell=chosen, reason=why(cells, found) + _ties(tied, names), tied=tied)


def mean_of(cell: Numbers, kind: str) -> float | None:
    """The mean over the units' scores of a kind, such as `adherence.0` and `adherence.1`."""
    found = [value for name, value in cell.items() if name.partition(".")[0] == kind]
    return sum(found) / len(found) if found else None


def score_label(name: str) -> str:
    """A score's name in words.

    >>> score_label("adherence.0"), score_label("over_control")
    ('adherence (unit 0)', 'over-control')
    """
    kind, _, unit = name.partition(".")
    return f"{LABELS.get(kind, kind)}{f' (unit {unit})' if unit else ''}"


def way(name: str) -> str:
    """Which way a score is good."""
    return "less is better" if name in LESS_IS_BETTER else "more is better"


def _likeness(cells: Sequence[Numbers], found: Contest) -> str:
    (kind,) = found.kinds
    return f"It has the most {LIKENESS[kind]}: {mean_of(cells[found.order[0]], kind) or 0.0:.2f}."


def _lines(cells: Sequence[Numbers], found: Contest) -> str:
    """Why, of cells with adherence."""
    chosen, following = found.order[0], near(cells, "adherence", range(len(cells)))
    cell = cells[chosen]
    parts = [_within(cells, chosen, "adherence", range(len(cells)), "It follows its controls to {:.2f}")]
    if near(cells, "reference", following):
        words = "of such cells it is like its reference to {:.2f}"
        parts.append(_within(cells, chosen, "reference", following, words))
    held = "; ".join(parts)
    if "over_control" not in cell:
        return held + "."
    return f"{held}, with the least over-control of such cells ({cell['over_control']:.2f})."


def _within(cells: Sequence[Numbers], chosen: int, kind: str, among: Sequence[int], words: str) -> str:
    best = max(mean_of(cells[i], kind) or 0.0 for i in among)
    share = f", within {1 - NEAR:.0%} of the best ({best:.2f})"
    return words.format(mean_of(cells[chosen], kind) or 0.0) + share


def _ties(tied: Sequence[int], names: Sequence[str]) -> str:
    """A sentence about the cells that are as good as the recommended one."""
    if not tied:
        return ""
    shown = [names[i] for i in tied[:TOLD]] if names else []
    more = f" and {len(tied) - len(shown)} more" if shown and len(tied) > len(shown) else ""
    which = f" ({'; '.join(shown)}{more})" if shown else ""
    count = "Another cell is" if len(tied) == 1 else f"{len(tied)} other cells are"
    return f" {count} exactly as good by these scores{which}: the first one is named."
