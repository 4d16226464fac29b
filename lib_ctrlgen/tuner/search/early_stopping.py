"""Decides which candidates of a search are stopped early, and computes its objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib_ctrlgen.tuner.scoring.catalogue import gain, score_names
from lib_ctrlgen.tuner.scoring.recommend import mean_of

LEAST = 4  # finished candidates before any is stopped
BEATERS = 2  # how many of them have to beat it
CLEAR = 0.1  # of the scores' range: how much better is clearly better

Numbers = Mapping[str, float]


def objectives(means: Numbers) -> dict[str, float]:
    """The mean of each measured kind of score, in the order of the catalogue.

    >>> objectives({"over_control": 0.25, "adherence.0": 0.5, "adherence.1": 1.0})
    {'adherence': 0.75, 'over_control': 0.25}
    """
    return {kind: value for kind in score_names() if (value := mean_of(means, kind)) is not None}


def clearly_beaten(one: Numbers, finished: Sequence[Numbers]) -> bool:
    """Whether two of the finished candidates are clearly better in every objective with different values.

    Clearly better means by a tenth of the objective's range over all these candidates, which were scored at
    the same share of their steps. While fewer than four are finished, no candidate is beaten.
    """
    rivals = [each for each in finished if each.keys() == one.keys()]
    if len(rivals) < LEAST:
        return False
    ranges = {name: _range([each[name] for each in (one, *rivals)]) for name in one}
    differing = {name: size for name, size in ranges.items() if size > 0}
    return bool(differing) and sum(_beats(each, one, differing) for each in rivals) >= BEATERS


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _beats(other: Numbers, one: Numbers, ranges: Numbers) -> bool:
    return all(gain(name, other[name], one[name]) >= CLEAR * size for name, size in ranges.items())
