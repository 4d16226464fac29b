"""The confidence in a recommendation, estimated from the spread of scores over the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from .catalogue import gain, kind_of, score_label
from .recommend import TIE, candidates_of, mean_of

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """The confidence in a recommendation.

    score        the score that decides between the recommended cell and the runner-up
    runner_up    the number of the second best cell; None if there is only one
    probability  the probability that the recommended cell is at least as good as the runner-up; None with
                 one seed
    within       how many other candidates are within the standard error of the difference
    sentence     these numbers in a sentence
    """

    score: str
    runner_up: int | None
    probability: float | None
    within: int
    sentence: str


def error_of(spreads: Numbers, kind: str, seeds: int) -> float:
    """The standard error of a cell's mean score, from its standard deviations over two or more seeds.

    >>> error_of({"adherence.0": 0.3}, "adherence", 10)
    0.1
    """
    found = [value for name, value in spreads.items() if kind_of(name) == kind]
    return math.sqrt(sum(value**2 for value in found) / (seeds - 1)) / len(found) if found else 0.0


def at_least(gain: float, error: float) -> float:
    """The probability that a normally distributed difference with mean `gain` is not negative."""
    if error <= 0:
        return float(gain >= 0)
    return NormalDist().cdf(gain / error)


def confidence_of(
    means: Sequence[Numbers], spreads: Sequence[Numbers], seeds: int, names: Sequence[str]
) -> Confidence | None:
    """The confidence in the recommended cell; None if nothing was scored. `names` are the cells' names."""
    found = candidates_of(means)
    if found is None:
        return None
    best, *others = found.order
    score = found.score
    if seeds < 2 or not others:
        nothing = "there is no other candidate to compare it with" if not others else ONE_SEED
        second = others[0] if others else None
        return Confidence(score=score, runner_up=second, probability=None, within=0, sentence=_start(nothing))

    def gain_over(other: int) -> float:
        return gain(score, *(mean_of(means[i], score) or 0.0 for i in (best, other)))

    def error(other: int) -> float:
        return math.hypot(*(error_of(spreads[i], score, seeds) for i in (best, other)))

    probability = at_least(gain_over(others[0]), error(others[0]))
    within = sum(gain_over(other) <= error(other) + TIE for other in others)
    sentence = (
        f"In {score_label(score)} it is at least as good as the runner-up ({names[others[0]]}) with a "
        f"probability of {probability:.0%}, estimated from {seeds} seeds (normal approximation); "
        f"{within} of {len(others)} other candidates lie within the error of the difference."
    )
    return Confidence(
        score=score, runner_up=others[0], probability=probability, within=within, sentence=sentence
    )


ONE_SEED = "with one seed the confidence is unknown: take two or more seeds (tune.seeds) to estimate it"


def _start(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
