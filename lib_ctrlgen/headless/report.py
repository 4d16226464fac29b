"""The demo's report as one self-contained HTML page, and its scores as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.images.files import encode_image

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture in the report; `file` is relative to the report."""

    file: str
    image: Image.Image
    caption: str = ""

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return encode_image(self.image)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant: its pictures, the mean of their scores, its control maps, its plan as SVG."""

    name: str
    title: str
    text: str
    units: tuple[str, ...]
    images: tuple[Figure, ...]
    maps: tuple[Figure, ...]
    scores: dict[str, float]
    plan: str

    @property
    def plan_svg(self) -> Markup:
        """The plan as SVG markup, which this program made, so that it is safe to include in the page."""
        return Markup(self.plan)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under one heading, with a text that explains their scores."""

    title: str
    text: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A tile of the grid at `coords`, one value per axis."""

    coords: tuple[float, ...]
    image: Figure
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pictures over two axes; an axis is (path in the request, label, values). The last axis runs fastest."""

    axes: tuple[tuple[str, str, tuple[float, ...]], ...]
    cells: tuple[Cell, ...]

    @property
    def lines(self) -> list[tuple[float, tuple[Cell, ...]]]:
        """The rows of the grid, each with its value on the first axis."""
        values, length = self.axes[0][2], len(self.axes[1][2])
        return [(value, self.cells[i * length : (i + 1) * length]) for i, value in enumerate(values)]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the report."""

    seconds: float
    prompt: str
    settings: str
    sources: tuple[Figure, ...]
    sections: tuple[Section, ...]
    grid: Grid

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section.rows)

    @property
    def figures(self) -> Sequence[Figure]:
        """All generated pictures."""
        return [*(figure for row in self.rows for figure in row.images), *(c.image for c in self.grid.cells)]


def report_html(report: Report) -> str:
    """The report as HTML with pictures as data URLs, inline styles and no script."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(report=report, version=__version__)


def report_json(report: Report) -> str:
    """The scores as JSON; file names are relative to it, coordinates are in the order of the axes."""
    summary = {
        "version": __version__,
        "seconds": report.seconds,
        "images": [figure.file for figure in report.figures],
        "rows": {row.name: row.scores for row in report.rows},
        "grid": {
            "axes": [
                {"path": path, "label": label, "values": list(values)}
                for path, label, values in report.grid.axes
            ],
            "cells": [
                {"coords": list(cell.coords), "image": cell.image.file, "scores": cell.scores}
                for cell in report.grid.cells
            ],
        },
    }
    return json.dumps(summary, indent=2) + "\n"
