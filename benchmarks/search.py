"""Which sampler finds most with few pictures? On a job without a model, whose best values are known.

Adherence is best (1) at the weights 1.2 and 0.4 and a guidance of 5; over-control grows with all three.
Counted are the best adherence, and the area that the front dominates, as means over seeds of the search.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import optuna
from _harness import Result, at_least, effort, finish, parser
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler

from lib_ctrlgen.tuner.search.study import sampler

Scores: TypeAlias = tuple[float, float]
Maker: TypeAlias = Callable[[int], Callable[[int], BaseSampler]]

RANGES = {
    "first": FloatDistribution(0, 2),
    "second": FloatDistribution(0, 2),
    "guidance": FloatDistribution(1, 15),
}
START = {"first": 1.0, "second": 1.0, "guidance": 12.0}
WORST = 2.5  # over-control beyond which nothing counts
TOGETHER = 4
SEEDS = 12


def scores(point: Mapping[str, float]) -> Scores:
    """Adherence, more is better, and over-control, less is better."""
    first, second, guidance = (point[name] for name in RANGES)
    adherence = np.exp(-4 * (first - 1.2) ** 2 - 4 * (second - 0.4) ** 2 - ((guidance - 5) / 6) ** 2)
    return float(adherence), 0.3 * first**2 + 0.2 * second**2 + guidance / 60


def area(found: Sequence[Scores]) -> float:
    """The area between the front and no adherence at the worst over-control."""
    total, lowest = 0.0, WORST
    for adherence, over_control in sorted(found, reverse=True):
        if over_control < lowest:
            total += adherence * (lowest - over_control)
            lowest = over_control
    return total


def own(seed: int, number: int) -> int:
    """A seed for one proposal."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def random(seed: int) -> Callable[[int], BaseSampler]:
    """Points at random."""
    return lambda number: RandomSampler(seed=own(seed, number))


def nsga2(seed: int) -> Callable[[int], BaseSampler]:
    """Generations of twelve."""
    one = NSGAIISampler(seed=seed, population_size=12)
    return lambda _number: one


def ours(seed: int) -> Callable[[int], BaseSampler]:
    """What the tuner does."""
    return lambda number: sampler(seed, number)


def search(samplers: Callable[[int], BaseSampler], candidates: int) -> list[Scores]:
    """The scores of so many candidates, proposed in rounds after the first."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    found = [scores(START)]
    study.add_trial(optuna.trial.create_trial(params=START, distributions=dict(RANGES), values=found[0]))
    while len(found) < candidates:
        trials = []
        for number in range(len(found), len(found) + TOGETHER):
            study.sampler = samplers(number)
            trials.append(study.ask(dict(RANGES)))
        for trial in trials:
            found.append(scores(trial.params))
            study.tell(trial, found[-1])
    return found


def main() -> int:
    """Print the figures; exit code 1 where ours is not clearly better than chance."""
    options = parser(__doc__ or "").parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    makers: dict[str, Maker] = {"random": random, "nsga2": nsga2, "tpe": ours}
    figures: dict[str, float] = {}
    seeds = effort(options, smoke=1, quick=SEEDS, full=SEEDS)
    for candidates in effort(options, smoke=(41,), quick=(41,), full=(25, 41, 81)):
        for name, maker in makers.items():
            runs = [search(maker(seed), candidates) for seed in range(seeds)]
            figures[f"{name}_{candidates}_best"] = float(np.mean([max(a for a, _ in run) for run in runs]))
            figures[f"{name}_{candidates}_area"] = float(np.mean([area(run) for run in runs]))
    figures["gain_41"] = figures["tpe_41_best"] - figures["random_41_best"]
    return finish(Result("search", figures, {"gain_41": at_least(0.08)}), options)


if __name__ == "__main__":
    sys.exit(main())
