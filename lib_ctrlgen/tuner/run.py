"""A grid of requests, run cell by cell into a folder, scored, and reported.

Each picture lies in a file that is named by what it is made of. So an interrupted or crashed run goes on
where it stopped, and an axis that gets more values costs the new cells only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen import __version__
from lib_ctrlgen.describe import described
from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.files import new_folder, save_picture, save_text
from lib_ctrlgen.spec import ControlRequest, to_payload

from .cells import Cell, Grid, key_of
from .choice import Choice, front, recommend
from .report import Done, report_html
from .scores import Scores, summary
from .sheet import heat_map, labelled

Tell = Callable[[int, int], None]
CELLS, FREE = "cells", "uncontrolled"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a run wrote, and its recommendation."""

    report: Path
    sheets: tuple[Path, ...]
    done: tuple[Done, ...]
    choice: Choice | None
    made: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """Pictures that a host made, each with its seed and what is written into its file."""

    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    infos: tuple[PngInfo, ...]


class Host(Protocol):
    """What makes and judges the pictures of a tuner: the headless engine, or the WebUI.

    Requests are ControlRequests of the host's own kind.
    """

    def batch(self, payload: Mapping[str, Any], seeds: int) -> Any:
        """The request for a cell's pictures, one per seed. Raises RequestError."""

    def generate(self, request: Any) -> Made:
        """Make them. KeyboardInterrupt stops the run; other errors are the cell's."""

    def scores(self, picture: Image.Image, free: Image.Image | None, request: Any) -> Scores:
        """Every score of a picture; `free` is the uncontrolled one of the same seed."""


class Tuner:
    """Runs a grid into a folder."""

    def __init__(self, host: Host, grid: Grid, out: Path) -> None:
        host.batch(grid.cells[0].payload, grid.seeds)
        self.host, self.grid, self.out = host, grid, new_folder(out)
        self.made = 0
        self.tuned: Tuned  # what the last run wrote

    def run(self, tell: Tell) -> Tuned:
        """Make what is missing; the report is written also when a run is interrupted, with what there is."""
        done: dict[tuple[int, ...], Done] = {}
        try:
            for number, cell in enumerate(self.ordered()):
                done[cell.coords] = self.cell(cell)
                tell(number + 1, len(self.grid.cells))
        finally:
            finished = [done[cell.coords] for cell in self.grid.cells if cell.coords in done]
            self.tuned = self.write(finished)
        return self.tuned

    def ordered(self) -> list[Cell]:
        """All cells, those of one checkpoint and of one set of controls after each other."""

        def models(cell: Cell) -> tuple[str, ...]:
            units = cell.payload.get("units") or []
            return str(cell.payload.get("model", "")), *(str(unit.get("model", "")) for unit in units)

        order: dict[tuple[str, ...], int] = {}
        for cell in self.grid.cells:
            order.setdefault(models(cell), len(order))
        return sorted(self.grid.cells, key=lambda cell: order[models(cell)])

    def cell(self, cell: Cell) -> Done:
        """A cell from its files, or made now; a failure is noted in its place."""
        request = self.host.batch(cell.payload, self.grid.seeds)
        note = self.out / CELLS / f"{cell.key}-{self.grid.seeds}.json"
        found = self.read(cell, request, note)
        if found is not None:
            return found
        try:
            found = self.make(cell, request)
        except (CtrlGenError, RuntimeError, ValueError) as error:
            nothing: dict[str, Any] = {"means": {}, "spreads": {}, "reasons": {}}
            return Done(cell=cell, request=request, error=" ".join(str(error).split()), **nothing)
        kept = {"files": found.files, "means": found.means, "sd": found.spreads, "reasons": found.reasons}
        save_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", note)
        return found

    def read(self, cell: Cell, request: ControlRequest, note: Path) -> Done | None:
        """A cell that an earlier run finished."""
        try:
            kept = json.loads(note.read_text("utf-8"))
            files = tuple(str(name) for name in kept["files"])
            whole = bool(files) and all((self.out / name).is_file() for name in files)
            scores = {"means": kept["means"], "spreads": kept["sd"], "reasons": kept["reasons"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Done(cell=cell, request=request, files=files, **scores) if whole else None

    def make(self, cell: Cell, request: ControlRequest) -> Done:
        """Make and score a cell's pictures."""
        made = self.host.generate(request)
        self.made += len(made.images)
        free = self.uncontrolled(request, len(made.images))
        scores = [
            self.host.scores(picture, free[number] if free else None, request)
            for number, picture in enumerate(made.images)
        ]
        files = []
        for number, (image, seed) in enumerate(zip(made.images, made.seeds, strict=True)):
            name = f"{CELLS}/{cell.key}-{number:02}-seed-{seed}.png"
            save_picture(image, self.out / name, made.infos[number])
            files.append(name)
        means, spreads = summary(scores)
        return Done(
            cell=cell,
            request=request,
            files=tuple(files),
            means=means,
            spreads=spreads,
            reasons=dict(scores[0].reasons),
        )

    def uncontrolled(self, request: ControlRequest, count: int) -> list[Image.Image] | None:
        """The pictures of the same seeds without units, made once; None where there are no units anyway."""
        if not request.enabled_units:
            return None
        plain = replace(request, units=())
        folder, key = self.out / FREE, key_of(to_payload(plain, whole=True))
        paths = [folder / f"{key}-{number:02}.png" for number in range(count)]
        if not all(path.is_file() for path in paths):
            made = self.host.generate(plain)
            self.made += len(made.images)
            for path, image, info in zip(paths, made.images, made.infos, strict=True):
                save_picture(image, path, info)
        return [Image.open(path).convert("RGB") for path in paths]

    def write(self, done: Sequence[Done]) -> Tuned:
        """The sheets, heat maps, tables and the report of the cells that are finished."""
        scored = [each.means for each in done]
        choice, best = recommend(scored), front(scored)
        sheets = tuple(self.sheets(done))
        heats = list(self.heats(done))
        save_text(table_csv(self.grid, done), self.out / "cells.csv")
        save_text(table_json(self.grid, done, choice, best), self.out / "cells.json")
        page = report_html(self.grid, done, choice, best, [svg for _, svg in heats], self.out)
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
    return {**values, **done.means, **spreads, "error": done.error, "files": " ".join(done.files)}


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
