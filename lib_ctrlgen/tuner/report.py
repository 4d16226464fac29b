"""The tuner's report: one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib_ctrlgen import __version__
from lib_ctrlgen.describe import described
from lib_ctrlgen.spec import ControlRequest

from .cells import Cell, Grid
from .choice import LESS_IS_BETTER, Choice

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Done:
    """A finished cell: its pictures' files, one per seed, their scores, or the error that it ended in.

    A `stopped` one has pictures and scores of fewer steps, and is not compared with the others.
    """

    cell: Cell
    request: ControlRequest
    files: tuple[str, ...] = ()
    means: Mapping[str, float]
    spreads: Mapping[str, float]
    reasons: Mapping[str, str]
    error: str = ""
    stopped: bool = False

    @property
    def compared(self) -> Mapping[str, float]:
        """The scores that count for the front and the recommendation."""
        return {} if self.stopped else self.means


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a search adds to the page: sentences, and plots as SVG."""

    title: str
    sentences: Sequence[str]
    plots: Sequence[str]


def report_html(
    grid: Grid,
    done: Sequence[Done],
    choice: Choice | None,
    best: Sequence[int],
    heats: Sequence[str],
    folder: Path,
    search: Section | None = None,
) -> str:
    """The page: pictures as data URLs, script and styles inline."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    names = list(dict.fromkeys(name for each in done for name in each.means))
    return environment.get_template("tune.html.j2").render(
        axes=grid.axes,
        total=len(grid.cells),
        cells=[_cell(number, each, folder, number in best) for number, each in enumerate(done)],
        names=names,
        less=[name for name in names if name in LESS_IS_BETTER],
        choice=choice,
        heats=[Markup(svg) for svg in heats],
        search=search,
        plots=[Markup(svg) for svg in search.plots] if search else [],
        reasons=_reasons(done),
        layers=_layers(grid, done),
        version=__version__,
    )


def _cell(number: int, done: Done, folder: Path, front: bool) -> dict[str, Any]:
    """A cell as the page shows it."""
    settings = json.dumps(described(done.request, "sha256", whole=True), indent=1, ensure_ascii=False)
    return {
        "number": number,
        "values": done.cell.shown,
        "images": [_url(folder / name) for name in done.files],
        "means": done.means,
        "spreads": done.spreads,
        "error": done.error,
        "stopped": done.stopped,
        "settings": settings,
        "front": front,
    }


def _url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _reasons(done: Sequence[Done]) -> dict[str, str]:
    """Why scores are missing, by name; the same for all cells as a rule."""
    found: dict[str, str] = {}
    for each in done:
        found |= each.reasons
    return found


def _layers(grid: Grid, done: Sequence[Done]) -> list[dict[str, Any]]:
    """The grid as tables, one per z: rows of cell numbers, -1 where a cell is missing."""
    numbers = {each.cell.coords: number for number, each in enumerate(done)}
    x, *rest = grid.axes
    rows = rest[0].shown if rest else ("",)
    layers = rest[1].shown if len(rest) > 1 else ("",)
    found = []
    for z, name in enumerate(layers):
        table = []
        for y, label in enumerate(rows):
            tail = (y, z)[: len(rest)]
            table.append({"label": label, "cells": [numbers.get((k, *tail), -1) for k in range(len(x))]})
        found.append({"name": name, "rows": table})
    return found
