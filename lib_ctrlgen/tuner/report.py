"""Writes the tuner's report as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib_ctrlgen import __version__

from .cells import Grid
from .finished_cell import FinishedCell, encoders_of
from .scoring.catalogue import direction, less_is_better, score_label
from .scoring.recommend import Recommendation, best_scores
from .settings import settings_of

HERE = Path(__file__).parent
FEW = 0.5  # if a larger share of the cells is on the Pareto front, frames mark fewer cells


@dataclass(frozen=True, kw_only=True)
class Section:
    """The report's section about a search: sentences, and plots as SVG."""

    title: str
    sentences: Sequence[str]
    plots: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the page.

    names    each cell's values with the labels of their axes
    recipes  for each cell, a text that generates it again (a job or an infotext)
    use      how to use such a text, in a sentence
    best     the numbers of the cells on the Pareto front
    heats    heat maps as SVG
    """

    grid: Grid
    done: Sequence[FinishedCell]
    names: Sequence[str]
    recipes: Sequence[str]
    use: str
    choice: Recommendation | None
    best: Sequence[int]
    heats: Sequence[str]
    warnings: Sequence[str] = ()
    search: Section | None = None

    @property
    def scores(self) -> list[str]:
        """The names of all scores."""
        return list(dict.fromkeys(name for each in self.done for name in each.means))

    @property
    def best_in(self) -> dict[int, list[str]]:
        """The scores in which each cell is the best."""
        return best_scores([each.compared for each in self.done])

    @property
    def crowded(self) -> bool:
        """Whether more cells are on the Pareto front than `FEW` allows."""
        return len(self.best) > FEW * sum(bool(each.compared) for each in self.done)

    @property
    def framed(self) -> set[int]:
        """The cells with a frame: those on the Pareto front, or, if it is crowded, those best in a score."""
        return set(self.best) & set(self.best_in) if self.crowded else set(self.best)

    @property
    def frames(self) -> str:
        """A sentence that explains the frame."""
        if not self.best:
            return ""
        count = len(self.best)
        if not self.crowded:
            return f"A grey frame marks the {count} cells that no other cell beats in every score."
        total = sum(bool(each.compared) for each in self.done)
        return (
            f"No other cell beats {count} of the {total} cells in every score, because the scores favour "
            "different cells. A grey frame marks those of them that are the best in one score."
        )


def report_html(report: Report, folder: Path) -> str:
    """The page with its pictures as data URLs and its script and styles inline."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    best_in, framed, search = report.best_in, report.framed, report.search
    cells = [_cell(n, report, folder, n in framed, best_in.get(n, [])) for n in range(len(report.done))]
    return environment.get_template("tune.html.j2").render(
        report=report,
        axes=report.grid.axes,
        total=len(report.grid.cells),
        seeds=seed_names(report.done),
        settings=settings_of(report.grid, report.done),
        cells=cells,
        names=report.scores,
        labels={name: score_label(name) for name in report.scores},
        ways={name: direction(name) for name in report.scores},
        less=[name for name in report.scores if less_is_better(name)],
        choice=report.choice,
        heats=[Markup(svg) for svg in report.heats],
        search=search,
        plots=[Markup(svg) for svg in search.plots] if search else [],
        reasons=_reasons(report.done),
        encoders=encoders_of(report.done),
        layers=_layers(report.grid, report.done),
        version=__version__,
    )


def seed_names(done: Sequence[FinishedCell]) -> list[str]:
    """Names for the pictures of a cell: the seeds if all cells have the same seeds, else numbers."""
    count = max((len(each.files) for each in done), default=0)
    found = []
    for k in range(count):
        seeds = {each.seeds[k] for each in done if k < len(each.files)}
        found.append(f"seed {seeds.pop()}" if len(seeds) == 1 else f"picture {k + 1}")
    return found


def _cell(number: int, report: Report, folder: Path, front: bool, best_in: Sequence[str]) -> dict[str, Any]:
    """The values of a cell that the template uses."""
    done = report.done[number]
    return {
        "number": number,
        "name": report.names[number],
        "values": done.cell.shown,
        "images": [_url(folder / name) for name in done.files],
        "seeds": done.seeds,
        "means": done.means,
        "spreads": done.spreads,
        "error": done.error,
        "warnings": done.warnings,
        "stopped": done.stopped,
        "recipe": report.recipes[number],
        "front": front,
        "best_in": [f"{'least' if less_is_better(name) else 'most'} {score_label(name)}" for name in best_in],
    }


def _url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _reasons(done: Sequence[FinishedCell]) -> dict[str, str]:
    """The reasons for missing scores, by name, with the number of cells if not all lack the score."""
    finished = [each for each in done if each.files]
    counts: dict[tuple[str, str], int] = {}
    for each in finished:
        for pair in each.reasons.items():
            counts[pair] = counts.get(pair, 0) + 1
    found: dict[str, str] = {}
    for (name, reason), count in counts.items():
        where = "" if count == len(finished) else f" ({count} of {len(finished)} cells)"
        known = f"{found[name]}; " if name in found else ""
        found[name] = f"{known}{reason}{where}"
    return found


def _layers(grid: Grid, done: Sequence[FinishedCell]) -> list[dict[str, Any]]:
    """The grid as tables of cell numbers, one table per value of z; -1 for a missing cell."""
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
