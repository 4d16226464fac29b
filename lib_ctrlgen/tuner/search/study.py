"""Stores a search's proposals and results in an Optuna study; only this module imports Optuna.

A proposal depends only on the seed and on the results in the study: every proposal has its own random
generator, seeded by its number. So a search that is continued proposes the same points as one that was not
interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import save_bytes

from .space import Point, Range

Ending: TypeAlias = Literal["finished", "stopped", "failed"]

ENDINGS: dict[Ending, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
COST, ERROR = "cost", "error"
LOST = "it was measured again and lacks a score that the first candidate has"
RANDOM = 10  # the number of random proposals before TPE proposes


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposed point. `ending` is None until its candidate has ended; `cost` is in pictures."""

    number: int
    point: Point
    ending: Ending | None = None
    cost: float = 0.0
    error: str = ""


class Search:
    """Proposes points of some ranges, and stores their results.

    `name` distinguishes the studies of one file; `less` states for each objective whether less is better.
    Raises HostError for a file that cannot be read.
    """

    def __init__(
        self, file: Path, name: str, ranges: Sequence[Range], seed: int, less: Sequence[bool]
    ) -> None:
        self.seed = seed
        self.open: dict[int, Trial] = {}  # proposals that have not ended
        self.distributions = {each.path: distribution(each) for each in ranges}
        directions = [StudyDirection.MINIMIZE if each else StudyDirection.MAXIMIZE for each in less]
        with opened(file) as storage:
            self.study = optuna.create_study(
                storage=storage, study_name=name, directions=directions, load_if_exists=True
            )

    def begin(self, point: Point, values: Sequence[float], cost: float) -> None:
        """Add the first point, which was scored before the study existed."""
        first = optuna.trial.create_trial(
            params=dict(zip(self.distributions, self.internal(point), strict=True)),
            distributions=self.distributions,
            values=list(values),
            user_attrs={COST: cost},
        )
        self.study.add_trial(first)

    def add_ended(self, ended: Sequence[Proposal], values: Callable[[Proposal], list[float] | None]) -> None:
        """Add the ended proposals of a search whose scores had another version; `values` measures them again.

        A finished proposal for which an objective is missing counts as failed.
        """
        for each in ended:
            measured = values(each) if each.ending == "finished" else None
            lost = each.ending == "finished" and measured is None
            trial = optuna.trial.create_trial(
                state=TrialState.FAIL if lost else ENDINGS[each.ending or "failed"],
                params=dict(zip(self.distributions, self.internal(each.point), strict=True)),
                distributions=self.distributions,
                values=measured,
                user_attrs={COST: each.cost, ERROR: LOST if lost else each.error},
            )
            self.study.add_trial(trial)

    def internal(self, point: Point) -> list[float | int]:
        """A point as Optuna stores it, with list indices as integers."""
        floats = (isinstance(each, FloatDistribution) for each in self.distributions.values())
        return [float(number) if whole else int(number) for number, whole in zip(point, floats, strict=True)]

    def proposals(self) -> list[Proposal]:
        """All proposals, in order."""
        return [self.proposal(trial) for trial in self.study.get_trials(deepcopy=False)]

    def ended(self) -> list[Proposal]:
        """The proposals that have ended, up to the first one that has not."""
        return list(takewhile(lambda each: each.ending is not None, self.proposals()))

    def proposal(self, trial: FrozenTrial) -> Proposal:
        """A trial of the study as a proposal."""
        if trial.state == TrialState.RUNNING:
            return self.again(trial)
        ending = next(name for name, state in ENDINGS.items() if state == trial.state)
        attributes = trial.user_attrs
        return Proposal(
            number=trial.number,
            point=tuple(float(trial.params[path]) for path in self.distributions),
            ending=ending,
            cost=float(attributes.get(COST, 0.0)),
            error=str(attributes.get(ERROR, "")),
        )

    def ask(self) -> Proposal:
        """Propose the next point."""
        number = len(self.study.get_trials(deepcopy=False))
        with quiet():
            self.study.sampler = sampler(self.seed, number)
            self.open[number] = self.study.ask()
            return self.proposed(number)

    def again(self, trial: FrozenTrial) -> Proposal:
        """Continue a proposal that has not ended; parameters that a crash left out are suggested again."""
        number = trial.number
        with quiet():
            if number not in self.open:
                self.study.sampler = sampler(self.seed, number)
                self.open[number] = Trial(self.study, trial._trial_id)
            return self.proposed(number)

    def proposed(self, number: int) -> Proposal:
        """The proposal of this number, which has not ended."""
        trial = self.open[number]
        point = tuple(float(suggested(trial, path, what)) for path, what in self.distributions.items())
        return Proposal(number=number, point=point)

    def tell(self, proposal: Proposal, values: Sequence[float] | None) -> None:
        """Record how a proposal ended, with its objectives if it is finished."""
        if proposal.ending is None:
            raise ValueError(f"proposal {proposal.number} has not ended")
        trial = self.open.pop(proposal.number)
        trial.set_user_attr(COST, proposal.cost)
        trial.set_user_attr(ERROR, proposal.error)
        with quiet():
            self.study.tell(trial, values=values, state=ENDINGS[proposal.ending])


@contextmanager
def opened(file: Path) -> Iterator[JournalStorage]:
    """Open the journal in a folder that this process has locked. Raises HostError if it cannot be read."""
    try:
        without_torn_end(file)
        for left in file.parent.glob(f"{file.name}.lock*"):  # lock files of a process that was killed
            left.unlink(missing_ok=True)
        with quiet():
            yield JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))
    except (OSError, ValueError, KeyError) as error:
        message = f"cannot read the search's journal {file}: {error}; move it away to start a new search"
        raise HostError(message) from error


def holds(file: Path, name: str) -> bool:
    """Whether a journal contains a study of this name. Raises HostError."""
    if not file.is_file():
        return False
    with opened(file) as storage:
        return name in optuna.get_all_study_names(storage)


def distribution(each: Range) -> BaseDistribution:
    """The Optuna distribution of a range: rising numbers are ordered, other values are categories."""
    if not each.values:
        return FloatDistribution(each.low, each.high)
    places = len(each.values)
    return IntDistribution(0, places - 1) if each.ordered else CategoricalDistribution(range(places))


def suggested(trial: Trial, path: str, what: BaseDistribution) -> float:
    """A proposal's number for a path of the request; repeated calls return the same."""
    if isinstance(what, FloatDistribution):
        return trial.suggest_float(path, what.low, what.high)
    if isinstance(what, IntDistribution):
        return trial.suggest_int(path, what.low, what.high)
    if isinstance(what, CategoricalDistribution):
        return float(trial.suggest_categorical(path, what.choices))  # type: ignore[arg-type]
    raise TypeError(f"no range is a {type(what).__name__}")


def sampler(seed: int, number: int) -> TPESampler:
    """The sampler of one proposal: multi-objective TPE (Ozaki et al. 2022); open trials count as bad."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return TPESampler(seed=own, n_startup_trials=RANDOM, multivariate=True, constant_liar=True)


def without_torn_end(file: Path) -> None:
    """Cut off a last line that a crash left half-written."""
    if not file.is_file():
        return
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        save_bytes(content[:end], file)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log and its warnings about experimental features, whose behaviour the tests pin."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
