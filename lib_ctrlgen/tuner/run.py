"""Generates the cells of a grid into a folder, scores them and writes the report.

The file of a picture is named by the hash of its request and written atomically. So an interrupted run can
be continued, and after values were added to an axis only the new cells are made. A run locks its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder, save_picture, save_text

from .axis_errors import check_grid
from .cell_folder import KeptCell, KeptCells
from .cells import Cell, Grid
from .finished_cell import FinishedCell, failed
from .lock import FolderLock
from .progress import Progress, Tell, TunerResult
from .ratings import Ratings, RatingsFile
from .recipe import save_pictures
from .report import Report, Section, report_html
from .report_data import ReportCells
from .scoring.catalogue import VERSION, direction, less_is_better, score_label, score_names
from .scoring.recommend import front, recommend
from .scoring.score_warnings import warnings_of
from .sheet import HeatTitle, heat_map, labelled
from .tables import table_csv, table_json
from .thumbnails import require_thumbnails
from .worker import FAILURES, CellPictures, Host, Outcome, Task, Worker, Workers

FREE = "uncontrolled"


class Tuner:
    """Generates a grid into a folder."""

    def __init__(self, host: Host, grid: Grid, out: Path, workers: Workers | None = None) -> None:
        self.host, self.grid, self.encoder = host, grid, host.encoder
        self.requests = check_grid(grid, lambda payload: host.batch(payload, grid.seeds))
        self.out = new_folder(out)
        self.workers = workers or Worker(host, out / FREE)
        self.lock, self.kept = FolderLock(out), KeptCells(out, grid.seeds)
        self.made = 0
        self.tuned: TunerResult  # the result of the last run

    def run(self, tell: Tell) -> TunerResult:
        """Make the missing cells and write the report. An interrupted run reports the finished cells.

        `tell` is called with the progress. Raises FolderInUseError if another run has locked the folder.
        """
        with self.lock:
            return self.locked_run(tell)

    def locked_run(self, tell: Tell) -> TunerResult:
        """Run while the folder is locked."""
        first = {cell.key: cell for cell in reversed(self.grid.cells)}
        done = {key: found for key, cell in first.items() if (found := self.read(cell)) is not None}
        waiting = [key for key in dict.fromkeys(c.key for c in self.ordered()) if key not in done]
        start, todo = monotonic(), len(waiting)
        self.write_first(self.finished(done))
        try:
            tell(self.progress(done, None))
            for key, found in self.make(waiting):
                done[key] = found
                todo -= 1
                pace = (monotonic() - start) / (len(waiting) - todo)
                tell(self.progress(done, pace * todo))
        finally:
            self.tuned = self.write(self.finished(done))
        return self.tuned

    def make(self, keys: Sequence[str]) -> Iterator[tuple[str, FinishedCell]]:
        """Make and write the cells of these keys; yields each key and its cell when the cell is finished.

        Pictures of an earlier run with scores of another version or encoder are only measured again.
        """
        save_pictures(self.requests.values(), self.out)
        first = {cell.key: cell for cell in reversed(self.grid.cells)}
        left = []
        for key in keys:
            measured = self.measured(first[key])
            if measured is None:
                left.append(key)
            else:
                yield key, measured
        for task, outcome in self.workers.each(self.stacks(left)):
            yield task.key, self.keep(first[task.key], outcome)

    def finished(self, done: Mapping[str, FinishedCell]) -> list[FinishedCell]:
        """The finished cells in the grid's order; cells with equal requests share their files."""
        return [replace(done[cell.key], cell=cell) for cell in self.grid.cells if cell.key in done]

    def progress(self, done: Mapping[str, FinishedCell], seconds_left: float | None) -> Progress:
        """The progress of the run."""
        cells = self.finished(done)
        return Progress(
            done=len(cells), total=len(self.grid.cells), seconds_left=seconds_left, cells=tuple(cells)
        )

    def ordered(self) -> list[Cell]:
        """All cells, sorted so that cells with the same checkpoint and controls follow each other."""

        def models(cell: Cell) -> tuple[str, ...]:
            units = cell.payload.get("units") or []
            return str(cell.payload.get("model", "")), *(str(unit.get("model", "")) for unit in units)

        order: dict[tuple[str, ...], int] = {}
        for cell in self.grid.cells:
            order.setdefault(models(cell), len(order))
        return sorted(self.grid.cells, key=lambda cell: order[models(cell)])

    def stacks(self, keys: Sequence[str]) -> list[list[Task]]:
        """Group the cells to be made: one list for all cells that the host can generate in one batch."""
        found: dict[str, list[Task]] = {}
        for key in keys:
            task = Task(key=key, request=self.requests[key])
            found.setdefault(self.host.alike(task.request), []).append(task)
        return list(found.values())

    def read(self, cell: Cell) -> FinishedCell | None:
        """Read a cell that an earlier run finished with the same scores, score version and encoder.

        If other machines make the cells, any encoder is accepted, because theirs may differ.
        """
        found = self.kept.read(cell)
        if found is None or found.version != VERSION or not set(score_names()) <= set(found.measured):
            return None
        if isinstance(self.workers, Worker) and found.encoder != self.encoder:
            return None
        return self.done(cell, found)

    def measured(self, cell: Cell) -> FinishedCell | None:
        """Measure the scores of a cell with existing pictures again; None if the cell has to be made.

        If other machines make the cells, it has to be made, because they also measure the scores.
        """
        found = self.kept.read(cell) if isinstance(self.workers, Worker) else None
        if found is None or not isinstance(self.workers, Worker):
            return None
        images = tuple(each.convert("RGB") for each in found.pictures)
        made = CellPictures(images=images, seeds=(), infos=(), warnings=found.warnings)
        try:
            scored = self.workers.scored(Task(key=cell.key, request=self.requests[cell.key]), made)
        except FAILURES:
            return None
        self.made += scored.others
        return self.done(cell, self.kept.note(cell, found.files, scored))

    def keep(self, cell: Cell, outcome: Outcome) -> FinishedCell:
        """Write a cell's pictures and JSON file. A failed cell is not written."""
        if isinstance(outcome, Exception):
            return failed(cell, self.requests[cell.key], " ".join(str(outcome).split()))
        self.made += len(outcome.made.images) + outcome.others
        return self.done(cell, self.kept.keep(cell, outcome))

    def done(self, cell: Cell, kept: KeptCell) -> FinishedCell:
        """The finished cell for reports."""
        return FinishedCell(
            cell=cell,
            request=self.requests[cell.key],
            files=kept.files,
            means=kept.means,
            spreads=kept.spreads,
            reasons=kept.reasons,
            warnings=kept.warnings,
            encoder=kept.encoder,
        )

    def write(
        self, done: Sequence[FinishedCell], search: Section | None = None, notes: Sequence[str] = ()
    ) -> TunerResult:
        """Write the sheets, heat maps, tables and the report of the finished cells."""
        scored, names = [each.compared for each in done], [self.grid.named(each.cell) for each in done]
        choice, best = recommend(scored, names), front(scored)
        ratings, unread = self.ratings()
        warnings = (*warnings_of(self.grid, done), *unread)
        sheets = tuple(self.sheets(done))
        heats = list(self.heats(done)) if search is None else []
        save_text(table_csv(self.grid, done, ratings), self.out / "cells.csv")
        save_text(table_json(self.grid, done, choice, best, warnings, ratings), self.out / "cells.json")
        recipes = [self.recipe(each) for each in done]
        cells = self.report_cells(done, names=names, recipes=recipes, choice=choice, best=best)
        page = Report(
            cells=replace(cells, ratings=ratings, search=search is not None),
            heats=[svg for _, svg in heats],
            warnings=warnings,
            notes=notes,
            search=search,
            use=self.host.use,
        )
        report = self.write_report(page)
        self.write_recommended(recipes[choice.cell] if choice else "")
        return TunerResult(
            report=report,
            sheets=sheets,
            done=tuple(done),
            choice=choice,
            made=self.made,
            recommended=names[choice.cell] if choice else "",
            warnings=warnings,
        )

    def write_first(self, done: Sequence[FinishedCell], *, search: bool = False) -> None:
        """Write the report of a run that begins: its page shows new cells while the run goes on."""
        cells = self.report_cells(done, names=[self.grid.named(each.cell) for each in done])
        ratings, unread = self.ratings()
        cells = replace(cells, ratings=ratings, search=search, running=True)
        self.write_report(Report(cells=cells, use=self.host.use, warnings=unread))

    def write_report(self, page: Report) -> Path:
        """Write the report and the thumbnails that are missing."""
        require_thumbnails(self.out, [name for each in page.cells.done for name in each.files])
        return save_text(report_html(page), self.out / "report.html")

    def report_cells(self, done: Sequence[FinishedCell], **values: Any) -> ReportCells:
        """The cells of a report, without ratings."""
        request: Any = done[0].request if done else next(iter(self.requests.values()), None)
        size = (request.width, request.height) if request is not None else (1, 1)
        plain: dict[str, Any] = {"recipes": (), "choice": None, "best": (), "ratings": Ratings()}
        return ReportCells(grid=self.grid, done=done, size=size, **plain | values)

    def ratings(self) -> tuple[Ratings, tuple[str, ...]]:
        """The ratings in the folder, and a warning if they cannot be read."""
        try:
            return RatingsFile(self.out).read(), ()
        except HostError as error:
            return Ratings(), (str(error),)

    def recipe(self, done: FinishedCell) -> str:
        """A text that generates a cell again, for the report; the units' pictures are in the folder."""
        return self.host.recipe(done.request, self.out, done.files)

    def write_recommended(self, recipe: str) -> None:
        """Write the recipe of the recommended cell into a file."""
        file = self.out / self.host.recommended
        if recipe:
            save_text(recipe, file)
        else:
            file.unlink(missing_ok=True)

    def layers(self, done: Sequence[FinishedCell]) -> Iterator[tuple[str, list[FinishedCell]]]:
        """The cells for each value of z, with a suffix for file names."""
        if len(self.grid.axes) < 3:
            yield "", list(done)
            return
        for z in range(len(self.grid.axes[2])):
            yield f"-z{z}", [each for each in done if each.cell.coords[2] == z]

    def layer(self, cells: Sequence[FinishedCell]) -> str:
        """The value of z for a title; empty without an axis z."""
        if len(self.grid.axes) < 3 or not cells:
            return ""
        return f", {self.grid.axes[2].named(cells[0].cell.coords[2])}"

    def names(self) -> tuple[Sequence[str], Sequence[str], tuple[str, str]]:
        """The captions of a sheet: the values of x, those of y, and the labels of both."""
        x, *rest = self.grid.axes
        return x.shown, rest[0].shown if rest else ("",), (x.label, rest[0].label if rest else "")

    def sheets(self, done: Sequence[FinishedCell]) -> Iterator[Path]:
        """Write one labelled sheet per value of z, with the first picture of each cell."""
        columns, rows, titles = self.names()
        for end, cells in self.layers(done):
            tiles: dict[tuple[int, int], Image.Image | str] = {}
            for each in cells:
                tiles[place(each)] = each.error or Image.open(self.out / each.files[0])
            yield save_picture(labelled(tiles, columns, rows, titles), self.out / f"sheet{end}.png")

    def heats(self, done: Sequence[FinishedCell]) -> Iterator[tuple[Path, str]]:
        """Write one heat map per score and value of z; yields its file and its SVG."""
        columns, rows, titles = self.names()
        names = list(dict.fromkeys(name for each in done for name in each.means))
        for end, cells in self.layers(done):
            for name in names:
                values = {place(each): each.means[name] for each in cells if name in each.means}
                title = HeatTitle(
                    f"{score_label(name)}{self.layer(cells)}", direction(name), *titles, less_is_better(name)
                )
                svg = heat_map(title, values, columns, rows)
                yield save_text(svg, self.out / f"heat-{name}{end}.svg"), svg


def place(done: FinishedCell) -> tuple[int, int]:
    """The column and row of a cell."""
    coords = done.cell.coords
    return coords[0], coords[1] if len(coords) > 1 else 0
