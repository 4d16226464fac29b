"""Writes the tuner's report as an HTML page beside the pictures and thumbnails that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib_ctrlgen import __version__

from .cells import Grid
from .finished_cell import FinishedCell, encoders_of
from .report_data import ReportCells
from .settings import settings_of
from .thumbnails import SIZE

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Section:
    """The report's section about a search: sentences, and plots as SVG."""

    title: str
    sentences: Sequence[str]
    plots: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the page.

    use    how to use a cell's recipe, in a sentence
    heats  heat maps as SVG
    notes  sentences about how the cells were made
    """

    cells: ReportCells
    use: str
    heats: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    search: Section | None = None


def report_html(report: Report) -> str:
    """The page with its script and styles inline; pictures are named by their paths in the tuner's folder."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    cells, search = report.cells, report.search
    return environment.get_template("tune.html.j2").render(
        report=report,
        cells=cells,
        axes=cells.grid.axes,
        settings=settings_of(cells.grid, sorted(cells.done, key=lambda each: each.stopped)),
        heats=[Markup(svg) for svg in report.heats],
        plots=[Markup(svg) for svg in search.plots] if search else [],
        reasons=_reasons(cells.done),
        encoders=encoders_of(cells.done),
        layers=_layers(cells.grid),
        seeds=cells.data["seeds"],
        thumbnail=SIZE,
        version=__version__,
    )


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


def _layers(grid: Grid) -> list[dict[str, Any]]:
    """The tables of a grid, one for each value of z: its value, and the values of y."""
    _, *rest = grid.axes
    rows = rest[0].shown if rest else ("",)
    layers = rest[1].shown if len(rest) > 1 else ("",)
    return [{"name": name, "rows": rows} for name in layers]
