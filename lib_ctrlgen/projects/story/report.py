"""The sheets and the page of a story's run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.files import save_text

from .asset_list import ASSETS, PORTRAIT, RESULT, ROW, Asset
from .assets import Planner
from .measures import Row, adherences, consistency, row_of
from .sheet import AssetSheet, save_sheet

HERE = Path(__file__).parent
INDEX, SHEETS = "index.html", "sheets"
WAYS = {
    "seed": "Each character keeps its seed, so all its pictures begin with the same noise.",
    "reference": "Each character keeps its seed, and an IP-Adapter follows its reference picture.",
    "aligned": "Each pose shares attention with the first pose of its place (StyleAligned).",
    "independent": "Every picture has another seed: nothing keeps a character the same.",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the report shows: the records of finished assets, and what went wrong.

    total    the number of assets that were to be made
    failed   those that could not be made, with the reason
    library  the folder of the recipes, None for none
    only     patterns of the assets that the command makes; none for all
    place    how the page names the folder, with a slash
    """

    planner: Planner
    records: Mapping[Asset, Mapping[str, Any]]
    out: Path
    total: int
    failed: Sequence[str]
    notes: Sequence[str]
    library: Path | None
    only: Sequence[str]
    cost: str
    command: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sheet on the page.

    file     its picture, relative to the page
    records  of its assets
    alike    how alike its pictures are, None if that cannot be measured
    kept     mean adherence to the controls, None if there is none
    row      the likenesses of a row of blends
    """

    title: str
    file: str
    records: Sequence[Mapping[str, Any]]
    alike: float | None = None
    kept: float | None = None
    row: Row | None = None
    concepts: tuple[str, ...] = ()


def save_report(report: Report) -> tuple[Path, tuple[Path, ...]]:
    """Write all sheets and the page; returns their paths. Raises HostError."""
    shown = [*sheets(report), *rows(report)]
    story = report.planner.read.story
    page = _template("index.html.j2").render(
        report=report,
        story=story,
        way=WAYS[story.consistency],
        sheets=shown,
        portraits=[record for asset, record in report.records.items() if asset.role == PORTRAIT],
        warnings=[(each["name"], text) for each in report.records.values() for text in each["warnings"]],
        result=RESULT,
        version=__version__,
    )
    return save_text(page, report.out / INDEX), tuple(report.out / each.file for each in shown)


def sheets(report: Report) -> Iterator[Shown]:
    """The sheet of each character in each style, of which some asset is finished."""
    story = report.planner.read.story
    places, poses = [each.name for each in story.places] or [""], [each.name for each in story.poses] or [""]
    groups: dict[tuple[int, int | None], dict[Asset, Mapping[str, Any]]] = {}
    for asset, record in report.records.items():
        if not asset.role:
            groups.setdefault((asset.character, asset.style), {})[asset] = record
    for assets in groups.values():
        one, style, _, _ = report.planner.parts(next(iter(assets)))
        title = one.name if style is None else f"{one.name}, {style.name}"
        stem = one.slug if style is None else f"{one.slug}--{style.slug}"
        sheet = AssetSheet(
            title=f"{story.title}: {title}",
            rows=places,
            columns=poses,
            files={(each.place or 0, each.pose or 0): _picture(report, assets[each]) for each in assets},
            shape=story.height / story.width,
        )
        found = list(assets.values())
        yield Shown(
            title=title,
            file=_saved(sheet, report.out, stem),
            records=found,
            alike=consistency(found),
            kept=adherences(found),
        )


def rows(report: Report) -> Iterator[Shown]:
    """The row of each style that has one, and of which all pictures are finished."""
    story = report.planner.read.story
    for number, style in enumerate(story.styles):
        found = [
            record for asset, record in report.records.items() if asset.role == ROW and asset.style == number
        ]
        if not style.row or len(found) < style.row:
            continue
        sheet = AssetSheet(
            title=f"{story.title}: {style.name}",
            rows=[""],
            columns=[f"{record['share']:.0%}" for record in found],
            files={(0, place): _picture(report, record) for place, record in enumerate(found)},
            shape=story.height / story.width,
        )
        yield Shown(
            title=f"{style.name}, from the first concept to the second",
            file=_saved(sheet, report.out, f"{style.slug}--row"),
            records=found,
            row=row_of(found, [_pixels(_picture(report, record)) for record in found]),
            concepts=tuple(each.prompt for each in style.concepts),
        )


def _picture(report: Report, record: Mapping[str, Any]) -> Path:
    return report.out / ASSETS / str(record["name"]) / RESULT


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _saved(sheet: AssetSheet, out: Path, stem: str) -> str:
    return save_sheet(sheet, out / SHEETS / f"{stem}.jpg").relative_to(out).as_posix()


def _template(name: str) -> Any:
    loader = FileSystemLoader([HERE, HERE.parent])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
