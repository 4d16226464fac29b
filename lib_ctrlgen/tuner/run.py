"""A grid of requests, run cell by cell into a folder, scored, and reported.

Each picture lies in a file that is named by what it is made of. So an interrupted or crashed run goes on
where it stopped, and an axis that gets more values costs the new cells only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.describe import described
from lib_ctrlgen.files import new_folder, save_picture, save_text

from .cells import Cell, Grid
from .choice import Choice, front, recommend
from .report import Done, Section, report_html
from .scores import summary
from .sheet import heat_map, labelled
from .work import Host, Outcome, Task, Worker, Workers

CELLS, FREE = "cells", "uncontrolled"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a run wrote, and its recommendation."""

    report: Path
    sheets: tuple[Path, ...]
    done: tuple[Done, ...]
    choice: Choice | None
    made: int
    sure: str = ""  # how sure a search's recommendation is, in a sentence


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: cells, those of earlier runs among them; None until a first one was made."""

    done: int
    total: int
    seconds_left: float | None
    cells: Sequence[Done]


Tell = Callable[[Progress], None]


class Tuner:
    """Runs a grid into a folder."""

    def __init__(self, host: Host, grid: Grid, out: Path, workers: Workers | None = None) -> None:
        self.host, self.grid, self.out = host, grid, new_folder(out)
        self.workers = workers or Worker(host, out / FREE)
        self.requests = {cell.key: host.batch(cell.payload, grid.seeds) for cell in grid.cells}
        self.made = 0
        self.tuned: Tuned  # what the last run wrote

    def run(self, tell: Tell) -> Tuned:
        """Make what is missing; the report is written also when a run is interrupted, with what there is."""
        first = {cell.key: cell for cell in reversed(self.grid.cells)}
        done = {key: found for key, cell in first.items() if (found := self.read(cell)) is not None}
        waiting = [key for key in dict.fromkeys(c.key for c in self.ordered()) if key not in done]
        start, todo = monotonic(), len(waiting)
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

    def make(self, keys: Sequence[str]) -> Iterator[tuple[str, Done]]:
        """Make and keep the cells of these keys, each with its key, as they are finished."""
        first = {cell.key: cell for cell in reversed(self.grid.cells)}
        for task, outcome in self.workers.each(self.stacks(keys)):
            yield task.key, self.keep(first[task.key], outcome)

    def finished(self, done: Mapping[str, Done]) -> list[Done]:
        """The finished cells in the grid's order; cells that are made of the same share their files."""
        return [replace(done[cell.key], cell=cell) for cell in self.grid.cells if cell.key in done]

    def progress(self, done: Mapping[str, Done], seconds_left: float | None) -> Progress:
        """How far the run is."""
        cells = self.finished(done)
        return Progress(
            done=len(cells), total=len(self.grid.cells), seconds_left=seconds_left, cells=tuple(cells)
        )

    def ordered(self) -> list[Cell]:
        """All cells, those of one checkpoint and of one set of controls after each other."""

        def models(cell: Cell) -> tuple[str, ...]:
            units = cell.payload.get("units") or []
            return str(cell.payload.get("model", "")), *(str(unit.get("model", "")) for unit in units)

        order: dict[tuple[str, ...], int] = {}
        for cell in self.grid.cells:
            order.setdefault(models(cell), len(order))
        return sorted(self.grid.cells, key=lambda cell: order[models(cell)])

    def stacks(self, keys: Sequence[str]) -> list[list[Task]]:
        """The cells to be made, those together that the host makes together."""
        found: dict[str, list[Task]] = {}
        for key in keys:
            task = Task(key=key, request=self.requests[key])
            found.setdefault(self.host.alike(task.request), []).append(task)
        return list(found.values())

    def note(self, cell: Cell) -> Path:
        """The file that says that a cell is finished."""
        return self.out / CELLS / f"{cell.key}-{self.grid.seeds}.json"

    def read(self, cell: Cell) -> Done | None:
        """A cell that an earlier run finished."""
        try:
            kept = json.loads(self.note(cell).read_text("utf-8"))
            files = tuple(str(name) for name in kept["files"])
            whole = bool(files) and all((self.out / name).is_file() for name in files)
            scores = {"means": kept["means"], "spreads": kept["sd"], "reasons": kept["reasons"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Done(cell=cell, request=self.requests[cell.key], files=files, **scores) if whole else None

    def keep(self, cell: Cell, outcome: Outcome) -> Done:
        """Write a cell's pictures and its note; a failure is noted in its place."""
        request = self.requests[cell.key]
        if isinstance(outcome, Exception):
            nothing: dict[str, Any] = {"means": {}, "spreads": {}, "reasons": {}}
            return Done(cell=cell, request=request, error=" ".join(str(outcome).split()), **nothing)
        made = outcome.made
        self.made += len(made.images) + outcome.others
        files = []
        for number, (image, seed) in enumerate(zip(made.images, made.seeds, strict=True)):
            name = f"{CELLS}/{cell.key}-{number:02}-seed-{seed}.png"
            save_picture(image, self.out / name, made.infos[number])
            files.append(name)
        means, spreads = summary(outcome.scores)
        spreads = spreads if outcome.spreads is None else dict(outcome.spreads)
        scores: dict[str, Any] = {
            "means": means,
            "spreads": spreads,
            "reasons": dict(outcome.scores[0].reasons),
        }
        kept = {"files": files, "means": means, "sd": spreads, "reasons": scores["reasons"]}
        save_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", self.note(cell))
        return Done(cell=cell, request=request, files=tuple(files), **scores)

    def write(self, done: Sequence[Done], search: Section | None = None) -> Tuned:
        """The sheets, heat maps, tables and the report of the cells that are finished."""
        scored = [each.compared for each in done]
        choice, best = recommend(scored), front(scored)
        sheets = tuple(self.sheets(done))
        heats = list(self.heats(done)) if search is None else []
        save_text(table_csv(self.grid, done), self.out / "cells.csv")
        save_text(table_json(self.grid, done, choice, best), self.out / "cells.json")
        page = report_html(self.grid, done, choice, best, [svg for _, svg in heats], self.out, search)
        report = save_text(page, self.out / "report.html")
        return Tuned(report=report, sheets=sheets, done=tuple(done), choice=choice, made=self.made)

    def layers(self, done: Sequence[Done]) -> Iterator[tuple[str, list[Done]]]:
        """The cells of each z, with the end of a file's name."""
        if len(self.grid.axes) < 3:
            yield "", list(done)
            return
        for z in range(len(self.grid.axes[2])):
            yield f"-z{z}", [each for each in done if each.cell.coords[2] == z]

    def names(self) -> tuple[Sequence[str], Sequence[str], tuple[str, str]]:
        """What stands beside a sheet: the values of x and y, and the axes' labels."""
        x, *rest = self.grid.axes
        return x.shown, rest[0].shown if rest else ("",), (x.label, rest[0].label if rest else "")

    def sheets(self, done: Sequence[Done]) -> Iterator[Path]:
        """One labelled sheet per z, of each cell's first picture."""
        columns, rows, titles = self.names()
        for end, cells in self.layers(done):
            tiles: dict[tuple[int, int], Image.Image | str] = {}
            for each in cells:
                tiles[place(each)] = each.error or Image.open(self.out / each.files[0])
            yield save_picture(labelled(tiles, columns, rows, titles), self.out / f"sheet{end}.png")

    def heats(self, done: Sequence[Done]) -> Iterator[tuple[Path, str]]:
        """One heat map per score and z."""
        columns, rows, _ = self.names()
        names = list(dict.fromkeys(name for each in done for name in each.means))
        for end, cells in self.layers(done):
            for name in names:
                values = {place(each): each.means[name] for each in cells if name in each.means}
                svg = heat_map(name + end, values, columns, rows)
                yield save_text(svg, self.out / f"heat-{name}{end}.svg"), svg


def place(done: Done) -> tuple[int, int]:
    """A cell's column and row."""
    coords = done.cell.coords
    return coords[0], coords[1] if len(coords) > 1 else 0


def row_of(grid: Grid, done: Done) -> dict[str, Any]:
    """A cell as a flat row: its values, its scores with spreads, its error, its files."""
    values = {axis.label: text for axis, text in zip(grid.axes, done.cell.shown, strict=True)}
    spreads = {f"{name}_sd": value for name, value in done.spreads.items()}
    stopped = {"stopped": "early"} if done.stopped else {}
    return {**values, **done.means, **spreads, **stopped, "error": done.error, "files": " ".join(done.files)}


def table_csv(grid: Grid, done: Sequence[Done]) -> str:
    """All cells as CSV."""
    rows = [row_of(grid, each) for each in done]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_json(grid: Grid, done: Sequence[Done], choice: Choice | None, best: Sequence[int]) -> str:
    """All cells as JSON, with the request of each, the Pareto front and the recommendation."""
    cells = [
        {
            "coords": list(each.cell.coords),
            "values": list(each.cell.shown),
            "scores": dict(each.means),
            "sd": dict(each.spreads),
            "reasons": dict(each.reasons),
            "error": each.error,
            **({"stopped": "early"} if each.stopped else {}),
            "files": list(each.files),
            "request": described(each.request, "sha256", whole=True),
        }
        for each in done
    ]
    axes = [{"label": a.label, "paths": list(a.paths), "values": list(a.shown)} for a in grid.axes]
    chosen = None if choice is None else {"cell": choice.cell, "reason": choice.reason}
    summary = {
        "version": __version__,
        "axes": axes,
        "recommended": chosen,
        "front": list(best),
        "cells": cells,
    }
    return json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
