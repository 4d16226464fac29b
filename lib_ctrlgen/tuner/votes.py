r"""Fits a strength to each cell from blind votes: the model of Plackett and Luce.

A vote shows some cells, of which the best are picked one after another. With strengths s, the probability
of a pick is :math:`e^{s_i} / \sum_j e^{s_j}` over the cells that were not picked before (Luce 1959, Plackett
1975; with two cells, Bradley and Terry 1952). The strengths are the maximum of the likelihood times a normal
prior of mean 0 and standard deviation `PRIOR`, which keeps a cell that won every vote finite. They do not
depend on the order of the votes. The errors are those of Laplace's approximation (the inverse of the negative
Hessian at the maximum). The report's page computes the same in `tune_votes.js.j2`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ratings import Vote

PRIOR = 1.5  # standard deviation of the strengths before any vote
WIDE = 1.96  # standard errors on each side of a 95 % interval
ROUNDS = 100
CLOSE = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """The strength of a cell: a logarithm of odds with its standard error, and the number of its votes."""

    value: float
    error: float
    votes: int

    @property
    def share(self) -> tuple[float, float, float]:
        """The share of votes it would win against an average cell, with the ends of its 95 % interval."""
        ends = (0.0, -WIDE, WIDE)
        middle, low, high = (1 / (1 + math.exp(-(self.value + each * self.error))) for each in ends)
        return middle, low, high


def strengths(votes: Sequence[Vote]) -> dict[str, Strength]:
    """The strength of each cell in a vote, by its key; votes that were taken back do not count."""
    counted = [vote for vote in votes if vote.order]
    keys = sorted({key for vote in counted for key in vote.shown})
    place = {key: k for k, key in enumerate(keys)}
    stages = [[place[key] for key in stage] for vote in counted for stage in picks(vote)]
    if not stages:
        return {}
    values, errors = fitted(stages, len(keys))
    shown = [sum(key in vote.shown for vote in counted) for key in keys]
    return {
        key: Strength(value=float(values[k]), error=float(errors[k]), votes=shown[k])
        for k, key in enumerate(keys)
    }


def picks(vote: Vote) -> Iterator[list[str]]:
    """For each pick of a vote, the cells that it chose from, with the chosen one first."""
    left = list(vote.shown)
    for key in vote.order:
        left.remove(key)
        if left:
            yield [key, *left]


def fitted(stages: Sequence[Sequence[int]], count: int) -> tuple[Array, Array]:
    """The strengths of `count` cells and their standard errors, by Newton's method with halved steps.

    Each stage is a pick: the numbers of the cells that it chose from, with the chosen one first.
    """
    values = np.zeros(count)
    best = log_posterior(values, stages)
    hessian = np.eye(count)
    for _ in range(ROUNDS):
        slope, hessian = derivatives(values, stages)
        step = np.linalg.solve(hessian, slope)
        while (found := log_posterior(values + step, stages)) < best and np.abs(step).max() > CLOSE:
            step = step / 2
        values, best = values + step, found
        if np.abs(step).max() <= CLOSE:
            break
    return values, np.sqrt(np.diag(np.linalg.inv(derivatives(values, stages)[1])))


def log_posterior(values: Array, stages: Sequence[Sequence[int]]) -> float:
    """The logarithm of the likelihood times the prior, up to a constant."""
    found = -float(values @ values) / (2 * PRIOR**2)
    for stage in stages:
        found += float(values[stage[0]] - np.logaddexp.reduce(values[list(stage)]))
    return found


def derivatives(values: Array, stages: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """The gradient of `log_posterior` and its negative Hessian, [cells, cells]."""
    slope = -values / PRIOR**2
    hessian = np.eye(len(values)) / PRIOR**2
    for stage in stages:
        among = list(stage)
        weights = np.exp(values[among] - values[among].max())
        shares = weights / weights.sum()
        slope[among[0]] += 1
        slope[among] -= shares
        hessian[np.ix_(among, among)] += np.diag(shares) - np.outer(shares, shares)
    return slope, hessian
