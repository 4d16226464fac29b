"""The pages of a run: one for each sheet, and an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib_ctrlgen import __version__
from lib_ctrlgen.files import save_text

from .maps import MAPS
from .settings import ALIGNED, PICTURE, BlueprintSettings
from .sheet import Sheet
from .strength import Setup

HERE = Path(__file__).parent
REPORT, INDEX = "report.html", "index.html"
LOOKS = {
    "seed": "One look: all sheets start from the same noise and have the same prompt and settings.",
    ALIGNED: "One look: each sheet shares its attention with the first one (StyleAligned).",
    PICTURE: "One look: all sheets follow one reference picture (IP-Adapter).",
}


@dataclass(frozen=True, kw_only=True)
class IndexPage:
    """What the index shows: the records of finished sheets, files that were left out, contact sheets."""

    title: str
    records: Sequence[Mapping[str, Any]]
    refused: Sequence[str]
    contact: Sequence[str]
    setup: Setup
    settings: BlueprintSettings
    total: int
    cost: str
    command: str


def save_sheet_report(
    folder: Path, sheet: Sheet, record: Mapping[str, Any], settings: BlueprintSettings, setup: Setup
) -> Path:
    """Write the page of a sheet beside its pictures. Raises HostError."""
    maps = [(f"map-{kind}.png", kind.replace("_", " "), MAPS[kind].about) for kind in setup.kinds]
    prompt = settings.prompt_for(sheet.kind, sheet.source.name)
    page = _template("sheet.html.j2").render(
        record=record, maps=maps, settings=settings, setup=setup, prompt=prompt, version=__version__
    )
    return save_text(page, folder / REPORT)


def save_index(out: Path, page: IndexPage) -> Path:
    """Write the index of a run. Raises HostError."""
    found = [record["lines"] for record in page.records]
    means = {
        name: sum(each[name] for each in found) / len(found) if found else 0.0
        for name in ("f1", "recall", "precision")
    }
    text = _template("index.html.j2").render(
        page=page, means=means, look=LOOKS[page.settings.look], version=__version__
    )
    return save_text(text, out / INDEX)


@lru_cache
def _template(name: str) -> Any:
    loader = FileSystemLoader(HERE)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
