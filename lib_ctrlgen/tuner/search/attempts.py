"""Generates and stores the cells of a search's points, with all steps and with a share of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_picture
from lib_ctrlgen.tuner.cells import Cell, Grid
from lib_ctrlgen.tuner.finished_cell import FinishedCell, failed
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring.recommend import candidates_of, front
from lib_ctrlgen.tuner.sheet import labelled
from lib_ctrlgen.tuner.worker import Host, Workers

from .space import Point, Space

SHOWN = 8  # candidates on the sheet


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The cells of a point.

    cell   the cell with all steps; None if the point is not a valid request, with the reason in `error`
    short  the cell with fewer steps, whose picture costs `share` of a full one; None without early stopping
    """

    point: Point
    cell: Cell | None = None
    short: Cell | None = None
    share: float = 0.0
    error: str = ""

    @property
    def key(self) -> str:
        """The cell's key, equal for equal requests; empty without a cell."""
        return self.cell.key if self.cell else ""


class Attempts:
    """Generates attempts with a host and stores the finished cells. `early` is the share of the steps."""

    def __init__(
        self, host: Host, space: Space, early: float | None, seeds: int, out: Path, workers: Workers
    ) -> None:
        self.host, self.space, self.early, self.seeds = host, space, early, seeds
        self.out, self.workers = out, workers
        self.known: dict[Point, Attempt] = {}
        self.full: dict[str, FinishedCell] = {}
        self.short: dict[str, FinishedCell] = {}
        self.made = 0

    def at(self, point: Point) -> Attempt:
        """The attempt at a point."""
        if point not in self.known:
            self.known[point] = self.new(point)
        return self.known[point]

    def new(self, point: Point) -> Attempt:
        """The cells of a point."""
        try:
            cell = self.space.cell(point)
            self.host.batch(cell.payload, self.seeds)
            share = self.space.shortened(point, self.early) if self.early else 1.0
            if share == 1:
                return Attempt(point=point, cell=cell)
            return Attempt(point=point, cell=cell, short=self.space.cell(point, self.early), share=share)
        except RequestError as error:
            return Attempt(point=point, error=str(error))

    def make_short(self, attempts: Sequence[Attempt], tell: Callable[[float], None]) -> None:
        """Make the missing cells with fewer steps, one picture each; `tell` is called with each cost."""
        costs = {each.short.key: each.share for each in attempts if each.short}
        cells = [each.short for each in attempts if each.short]
        for done in self.scored(cells, self.short, 1):
            tell(costs[done.cell.key])

    def make_full(self, attempts: Sequence[Attempt], tell: Callable[[float], None]) -> None:
        """Make the missing cells with all steps, one picture per seed; `tell` is called with each cost."""
        for _ in self.scored([each.cell for each in attempts if each.cell], self.full, self.seeds):
            tell(self.seeds)

    def scored(
        self, cells: Sequence[Cell], into: dict[str, FinishedCell], seeds: int
    ) -> Iterator[FinishedCell]:
        """Read existing cells into `into`, and make and yield the others."""
        wanted = {cell.key: cell for cell in cells if cell.key not in into}
        tuner = Tuner(
            self.host, Grid(axes=(), cells=tuple(wanted.values()), seeds=seeds), self.out, self.workers
        )
        into.update({key: found for key, cell in wanted.items() if (found := tuner.read(cell)) is not None})
        try:
            for key, done in tuner.make([key for key in wanted if key not in into]):
                into[key] = done
                yield done
        finally:
            self.made += tuner.made

    def fail(self, cell: Cell, error: str) -> None:
        """Store an error in place of the cell."""
        self.full[cell.key] = failed(cell, self.host.batch(cell.payload, self.seeds), error)

    def short_of(self, attempt: Attempt) -> FinishedCell | None:
        """The finished cell with fewer steps of an attempt, if there is one."""
        return self.short.get(attempt.short.key) if attempt.short else None

    def outcome(self, attempt: Attempt, *, stopped: bool) -> FinishedCell | None:
        """The finished cell of an attempt (with fewer steps if it was stopped); None if there is none."""
        short = self.short_of(attempt)
        if stopped:
            return replace(short, stopped=True) if short else None
        return self.full.get(attempt.key)

    def candidates(self, points: Sequence[Point], done: Sequence[FinishedCell]) -> CandidateTuner:
        """The tuner that writes the report of these candidates, the values of one axis."""
        cells = tuple(each.cell for each in done)
        grid = Grid(axes=(self.space.axis(points),), cells=cells, seeds=self.seeds)
        tuner = CandidateTuner(self.host, grid, self.out, self.workers)
        tuner.made = self.made
        return tuner


class CandidateTuner(Tuner):
    """The candidates of a search as a grid of one axis, whose sheet shows the best ones only."""

    def sheets(self, done: Sequence[FinishedCell]) -> Iterator[Path]:
        """One sheet: the best cells by the recommendation's order, then the rest of the Pareto front."""
        scored = [each.compared for each in done]
        found = candidates_of(scored)
        best = list(dict.fromkeys([*(found.order if found else ()), *front(scored)]))[:SHOWN]
        tiles: dict[tuple[int, int], Image.Image | str] = {
            (column, 0): Image.open(self.out / done[number].files[0]) for column, number in enumerate(best)
        }
        columns = [", ".join(done[number].cell.shown) for number in best]
        picture = labelled(tiles, columns, ("",), (self.grid.axes[0].label, ""))
        yield save_picture(picture, self.out / "sheet.png")

    def heats(self, done: Sequence[FinishedCell]) -> Iterator[tuple[Path, str]]:
        """No heat maps, because a search has scatter plots instead."""
        del done
        yield from ()
