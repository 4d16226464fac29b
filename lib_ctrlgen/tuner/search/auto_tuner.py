"""Searches ranges of values with a budget of pictures, instead of generating a grid.

The candidates are cells like those of a grid, so a picture that exists is never generated again. Points are
proposed in rounds; the results of a round are given to the Optuna study when the whole round is scored, in
the order of the proposals' numbers. So an interrupted search ends with the same result as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import new_folder, save_text
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.tuner.axis_errors import check_space
from lib_ctrlgen.tuner.cells import AutoSpec, TuneSpec, key_of
from lib_ctrlgen.tuner.lock import FolderLock
from lib_ctrlgen.tuner.open_seed import with_search_seed
from lib_ctrlgen.tuner.progress import Progress, Tell, TunerResult
from lib_ctrlgen.tuner.run import FREE
from lib_ctrlgen.tuner.scoring.catalogue import VERSION, less_is_better
from lib_ctrlgen.tuner.worker import Host, Worker, Workers

from .attempts import Attempt, Attempts
from .early_stopping import clearly_beaten, objectives
from .findings import CandidateCell, Findings
from .optuna_package import NAME, install_optuna
from .space import Space, space_of

if TYPE_CHECKING:
    from .study import Ending, Proposal, Search

MEMORY = "auto.journal"
STALE = 32  # after this number of consecutive proposals that were made before, the search ends
MISSING = "a search needs Optuna, which is not installed: run `{command}`"


def auto_tuner(
    host: Host,
    payload: Mapping[str, Any],
    tune: TuneSpec,
    kind: type[ControlRequest],
    out: Path,
    workers: Workers | None = None,
) -> AutoTuner:
    """Return the checked search of a job. Raises RequestError at `$.tune.auto`, also without Optuna."""
    if tune.auto is None:
        raise RequestError("$.tune.auto", "is required")
    space = space_of(payload, tune.auto, kind)
    require_optuna()
    return AutoTuner(host, space, with_search_seed(tune.auto, out), tune.seeds, out, workers)


def require_optuna() -> None:
    """Raise RequestError at `$.tune.auto` if Optuna is not installed."""
    try:
        from lib_ctrlgen.tuner.search import study as search
    except ModuleNotFoundError as error:
        if error.name != NAME:
            raise
        raise RequestError("$.tune.auto", MISSING.format(command=install_optuna())) from error
    del search


class AutoTuner:
    """Runs a search and writes its results into a folder."""

    def __init__(
        self, host: Host, space: Space, auto: AutoSpec, seeds: int, out: Path, workers: Workers | None = None
    ) -> None:
        self.host, self.space, self.auto, self.seeds = host, space, auto, seeds
        self.encoder = host.encoder
        self.highest_cost = seeds + (space.highest_cost(auto.early) if auto.early else 0.0)
        if auto.budget < self.highest_cost:
            needed = f"one candidate takes up to {self.highest_cost:g} pictures"
            raise RequestError("$.tune.auto.budget", f"{auto.budget} is not enough: {needed}")
        check_space(space, lambda payload: host.batch(payload, seeds))
        self.out = new_folder(out)
        self.lock = FolderLock(out)
        self.workers = workers or Worker(host, out / FREE)
        self.attempts = Attempts(host, space, auto.early, seeds, out, self.workers)
        self.ended: dict[str, Ending] = {}  # by the keys of cells
        self.search: Search | None = None
        self.tuned: TunerResult  # the result of the last run

    def run(self, tell: Tell) -> TunerResult:
        """Spend the rest of the budget and write the report, also if the run is interrupted.

        `tell` is called with the progress. Raises FolderInUseError if another run has locked the folder.
        """
        with self.lock:
            return self.locked_run(tell)

    def locked_run(self, tell: Tell) -> TunerResult:
        """Run while the folder is locked."""
        self.tell, self.pending, self.before, self.started = tell, 0.0, 0.0, monotonic()
        try:
            search = self.begin()
            self.before, shown = self.spent, self.shown()
            first = self.attempts.candidates([each.proposal.point for each in shown], [])
            first.write_first([each.done for each in shown], search=True)
            self.report(0.0)
            while batch := self.batch(search):
                self.evaluate(search, batch)
        finally:
            self.tuned = self.write()
        return self.tuned

    def begin(self) -> Search:
        """Open the study. Its first candidate is the job itself, whose scores become the objectives."""
        from .study import Search

        first = self.attempts.at(self.space.start)
        self.attempts.make_short([first], self.report)
        self.attempts.make_full([first], self.report)
        done = self.attempts.full[first.key]
        if done.error:
            raise HostError(f"the first candidate ({done.cell.shown[0]}) failed: {done.error}")
        wanted = objectives(done.means)
        if all(map(less_is_better, wanted)):
            why = "; ".join(map(": ".join, done.reasons.items()))
            raise RequestError("$.tune.auto", f"no score was measured, so there is no objective. {why}")
        self.kinds = tuple(wanted)
        less = [less_is_better(kind) for kind in wanted]
        search = Search(self.out / MEMORY, self.name(VERSION), self.space.ranges, self.auto.seed, less)
        if not search.proposals():
            self.continue_search(search, less)
        if not search.proposals():
            search.begin(self.space.start, list(wanted.values()), self.seeds + first.share)
        self.search, self.pending = search, 0.0
        self.restore_results()
        return search

    def continue_search(self, search: Search, less: Sequence[bool]) -> None:
        """Continue the same search if its scores have an earlier version: its pictures are measured again."""
        from .study import Search, holds

        file = self.out / MEMORY
        name = next((name for v in range(VERSION - 1, 0, -1) if holds(file, name := self.name(v))), None)
        if name is None:
            return
        earlier = Search(file, name, self.space.ranges, self.auto.seed, less).ended()
        self.regenerate(earlier)
        search.add_ended(earlier, lambda each: self.values(self.attempts.at(each.point)))

    def name(self, version: int) -> str:
        """The name of the study, a hash of job, ranges, seeds, scores and encoder, but not of the budget."""
        ranges = [[each.path, each.low, each.high, list(each.values)] for each in self.space.ranges]
        auto: dict[str, Any] = {"seed": self.auto.seed, "early": self.auto.early, "seeds": self.seeds}
        auto |= {"scores": version} if version > 1 else {}
        auto |= {"encoder": self.encoder} if version > 2 else {}
        return key_of({"payload": self.space.payload, "ranges": ranges, "kinds": self.kinds, **auto})

    def restore_results(self) -> None:
        """Restore the results of earlier runs; pictures that were deleted are generated again."""
        ended = [each for each in self.proposals if each.ending]
        self.regenerate(ended)
        for each in ended:
            self.record_result(each)

    def regenerate(self, ended: Sequence[Proposal]) -> None:
        """Read the cells of proposals that have ended; missing ones are generated again."""
        tried = [self.attempts.at(each.point) for each in ended if each.ending != "failed"]
        self.attempts.make_short(tried, lambda _cost: None)
        finished = [self.attempts.at(each.point) for each in ended if each.ending == "finished"]
        self.attempts.make_full(finished, lambda _cost: None)

    def record_result(self, proposal: Proposal) -> None:
        """Record how a proposal's cell ended."""
        cell = self.attempts.at(proposal.point).cell
        if cell is None or proposal.ending is None or cell.key in self.ended:
            return
        self.ended[cell.key] = proposal.ending
        if proposal.ending == "failed":
            self.attempts.fail(cell, proposal.error)

    @property
    def proposals(self) -> list[Proposal]:
        """All proposals so far."""
        return self.search.proposals() if self.search else []

    @property
    def spent(self) -> float:
        """The cost of the search in pictures."""
        return sum(each.cost for each in self.proposals)

    @property
    def searched(self) -> bool:
        """Whether the last proposals (`STALE` of them) had all been made before."""
        ended = [each for each in self.proposals if each.ending]
        return len(ended) > STALE and not any(each.cost for each in ended[-STALE:])

    def batch(self, search: Search) -> list[Proposal]:
        """The next round, with unfinished proposals of an earlier run first; empty if the search is over."""
        if self.searched:
            return []
        proposals = search.proposals()
        ended = sum(each.ending is not None for each in proposals)
        room = int((self.auto.budget - self.spent) / self.highest_cost + 1e-9)
        size = max(0, min(room, self.auto.together - (ended - 1) % self.auto.together))
        batch = [each for each in proposals if not each.ending][:size]
        return batch + [search.ask() for _ in range(size - len(batch))]

    def evaluate(self, search: Search, batch: Sequence[Proposal]) -> None:
        """Generate and score a round's candidates, and record how each ended."""
        attempts = {each.number: self.attempts.at(each.point) for each in batch}
        fresh = [each for each in attempts.values() if each.cell and each.key not in self.ended]
        self.attempts.make_short(fresh, self.report)
        beaten = {each.key: self.beaten(each, batch[0].number) for each in fresh}
        self.attempts.make_full([each for each in fresh if not beaten[each.key]], self.report)
        for proposal in batch:
            attempt = attempts[proposal.number]
            ended = self.end(proposal, attempt, beaten.get(attempt.key, ""))
            values = self.values(attempt) if ended.ending == "finished" else None
            search.tell(ended, values)
            self.record_result(ended)
        self.pending = 0.0
        self.report(0.0)

    def beaten(self, attempt: Attempt, number: int) -> Ending | Literal[""]:
        """How an attempt ends after fewer steps, given the rounds before `number`; empty if it goes on."""
        short = self.attempts.short_of(attempt)
        if short is None:
            return ""
        if short.error:
            return "failed"
        earlier = 1 + (number - 1) // self.auto.together * self.auto.together
        finished = [each for each in self.proposals[:earlier] if each.ending == "finished"]
        others = [self.attempts.short_of(self.attempts.at(each.point)) for each in finished]
        rivals = [objectives(other.means) for other in others if other]
        return "stopped" if clearly_beaten(objectives(short.means), rivals) else ""

    def end(self, proposal: Proposal, attempt: Attempt, beaten: Ending | Literal[""]) -> Proposal:
        """The proposal with its result and its cost."""
        if attempt.cell is None:
            return replace(proposal, ending="failed", error=attempt.error)
        done, short = self.attempts.full.get(attempt.key), self.attempts.short_of(attempt)
        if attempt.key in self.ended:  # the same values again
            return replace(proposal, ending=self.ended[attempt.key], error=done.error if done else "")
        if beaten:
            error = short.error if short else ""
            return replace(proposal, ending=beaten, cost=attempt.share, error=error)
        error = done.error if done else "was not made"
        if not error and self.values(attempt) is None:
            error = "it lacks a score that the first candidate has"
        cost = attempt.share + self.seeds
        return replace(proposal, ending="failed" if error else "finished", cost=cost, error=error)

    def values(self, attempt: Attempt) -> list[float] | None:
        """The objectives of a finished attempt; None if one is missing."""
        done = self.attempts.full.get(attempt.key)
        found = objectives(done.means) if done else {}
        return [found[kind] for kind in self.kinds] if found.keys() >= set(self.kinds) else None

    def report(self, cost: float) -> None:
        """Report the progress; `cost` is that of the pictures made since the last recorded proposal."""
        self.pending += cost
        done = self.spent + self.pending
        gained, total = done - self.before, self.auto.budget
        left = (monotonic() - self.started) / gained * (total - done) if gained > 0 else None
        cells = tuple(each for each in self.attempts.full.values() if not each.error)
        self.tell(Progress(done=int(done), total=total, seconds_left=left, cells=cells))

    def shown(self) -> list[CandidateCell]:
        """Every cell that was tried, each once, in the order of the proposals."""
        found: dict[str, CandidateCell] = {}
        for each in self.proposals:
            attempt = self.attempts.at(each.point)
            done = self.attempts.outcome(attempt, stopped=self.ended.get(attempt.key) == "stopped")
            if done is not None and attempt.key not in found:
                cell = replace(done.cell, coords=(len(found),))
                found[attempt.key] = CandidateCell(done=replace(done, cell=cell), proposal=each)
        return list(found.values())

    def write(self) -> TunerResult:
        """Write the report, the tables and `auto.json`."""
        shown = self.shown()
        findings = Findings(
            space=self.space,
            auto=self.auto,
            seeds=self.seeds,
            shown=shown,
            proposals=self.proposals,
            searched=self.searched,
        )
        save_text(findings.json(), self.out / "auto.json")
        done = [each.done for each in shown]
        tried = self.attempts.candidates([each.proposal.point for each in shown], done)
        confidence = findings.confidence
        return replace(
            tried.write(done, findings.section()), confidence=confidence.sentence if confidence else ""
        )
