"""Makes a grid from coarse to fine: every cell with few steps first, then the better half in full.

This is one round of successive halving (Jamieson and Talwalkar 2016), with the steps as the resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from lib_ctrlgen.request.spec import ControlRequest, parse_request

from .cells import Cell, Grid, key_of
from .finished_cell import FinishedCell
from .progress import Progress, Tell, TunerResult
from .run import Tuner
from .scoring.recommend import Numbers, candidates_of
from .search.space import steps_at
from .worker import Host, Workers

UNSCORED = (
    "From coarse to fine: no coarse picture has a score, so no half is the better one. Every cell was made "
    "in full."
)
UNFINISHED = "From coarse to fine: the run ended before every cell had its coarse picture."
HALVED = (
    "From coarse to fine: {coarse} cells were made with {share:.0%} of their steps and one seed. The rule of "
    "the recommendation put them in order, and the better {full} were then made in full. The pale pictures "
    "are coarse: they are not compared with the others, and their scores say little about all steps."
)


def promising(scored: Sequence[Numbers], count: int) -> list[int]:
    """The numbers of the `count` best cells, by the rule of the recommendation; empty if none has a score.

    The rule orders the cells near the best one. It is applied again to the others, until there are enough.

    >>> promising([{"prompt": 0.1}, {"prompt": 0.4}, {}, {"prompt": 0.3}], 2)
    [1, 3]
    """
    found: list[int] = []
    left = [number for number, each in enumerate(scored) if each]
    while len(found) < count and left:
        order = candidates_of([scored[number] for number in left])
        best = [left[k] for k in order.order] if order else left
        found += best
        left = [number for number in left if number not in best]
    return found[:count]


class CoarseTuner(Tuner):
    """Generates a grid of which only the better half is made with all steps and seeds.

    `share` is the share of the steps with which every cell is made first.
    """

    def __init__(
        self,
        host: Host,
        grid: Grid,
        out: Path,
        kind: type[ControlRequest],
        share: float,
        workers: Workers | None = None,
    ) -> None:
        super().__init__(host, grid, out, workers)
        self.share = share
        unique = {cell.key: cell for cell in reversed(grid.cells)}
        self.coarse_cells = {key: shortened(cell, kind, share) for key, cell in reversed(unique.items())}
        short = tuple({cell.key: cell for cell in self.coarse_cells.values()}.values())
        self.coarse = Tuner(host, Grid(axes=(), cells=short, seeds=1), out, self.workers)
        self.short: dict[str, FinishedCell] = {}  # by the keys of the short cells
        self.count = (len(self.coarse_cells) + 1) // 2

    def locked_run(self, tell: Tell) -> TunerResult:
        """Run while the folder is locked."""
        self.full = {key: found for key in self.coarse_cells if (found := self.read(self.cell(key)))}
        self.started, self.paid = monotonic(), 0.0
        self.write_first(self.finished(self.full))
        try:
            tell(self.progress(self.full, None))
            for _ in self.made_coarse():
                self.paid += self.share
                tell(self.halved_progress())
            kept = self.kept_keys()
            for key, found in self.make([key for key in kept if key not in self.full]):
                self.full[key] = found
                self.paid += self.grid.seeds
                tell(self.halved_progress())
        finally:
            self.made += self.coarse.made
            self.tuned = self.write(self.finished(self.full), notes=[self.note()])
        return self.tuned

    def cell(self, key: str) -> Cell:
        """The first cell of the grid with this key."""
        return next(cell for cell in self.grid.cells if cell.key == key)

    def made_coarse(self) -> Iterator[FinishedCell]:
        """Read the coarse cells, and make and yield the missing ones."""
        cells = {cell.key: cell for cell in self.coarse.grid.cells}
        self.short = {key: found for key, cell in cells.items() if (found := self.coarse.read(cell))}
        for key, found in self.coarse.make([key for key in cells if key not in self.short]):
            self.short[key] = found
            yield found

    def kept_keys(self) -> list[str]:
        """The keys of the cells that are made in full, in the grid's order; all of them without any score."""
        keys = list(self.coarse_cells)
        scored: list[Mapping[str, float]] = [self.short[self.coarse_cells[key].key].means for key in keys]
        best = promising(scored, self.count)
        return [key for number, key in enumerate(keys) if number in best] if best else keys

    def finished(self, done: Mapping[str, FinishedCell]) -> list[FinishedCell]:
        """The finished cells in the grid's order: in full where they are, else as coarse ones."""
        found = []
        for cell in self.grid.cells:
            full, short = done.get(cell.key), self.short.get(self.coarse_cells[cell.key].key)
            if full is not None:
                found.append(replace(full, cell=cell))
            elif short is not None:
                found.append(replace(short, cell=cell, stopped=not short.error))
        return found

    def halved_progress(self) -> Progress:
        """The progress; `done` is the share of the work that is done, as a number of the grid's cells."""
        whole = len(self.coarse.grid.cells) * self.share + self.count * self.grid.seeds
        cells = self.finished(self.full)
        left = max(0.0, whole - self.paid)
        pace = (monotonic() - self.started) / self.paid
        total = len(self.grid.cells)
        return Progress(
            done=min(total, int(total * self.paid / whole + 1e-9)),
            total=total,
            seconds_left=pace * left,
            cells=tuple(cells),
        )

    def note(self) -> str:
        """What the run did, in a sentence for the report."""
        if len(self.short) < len(self.coarse.grid.cells):
            return UNFINISHED
        if not any(each.means for each in self.short.values()):
            return UNSCORED
        return HALVED.format(coarse=len(self.coarse_cells), share=self.share, full=self.count)


def shortened(cell: Cell, kind: type[ControlRequest], share: float) -> Cell:
    """The cell with this share of its steps."""
    request: Any = parse_request(dict(cell.payload), kind)
    payload = {**cell.payload, "steps": steps_at(request, share)}
    return replace(cell, payload=payload, key=key_of(payload))


def grid_tuner(
    host: Host,
    grid: Grid,
    out: Path,
    kind: type[ControlRequest],
    coarse: float | None,
    workers: Workers | None = None,
) -> Tuner:
    """The tuner of a grid; `coarse` is the share of the steps of a coarse run first, None for none."""
    if coarse is None:
        return Tuner(host, grid, out, workers)
    return CoarseTuner(host, grid, out, kind, coarse, workers)
