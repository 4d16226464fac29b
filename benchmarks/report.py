"""How long the tuner's report of a grid of 1,000 cells takes to open in Chromium.

The cells are synthetic: pictures of noise of 512 pixels, a few of which all cells share as hard links, and
thumbnails as the tuner writes them. The page is opened as a file in a new browser context, until the grid is
shown and the pictures of the first screen are loaded (`open_s`, the median). `html_mb` is the size of the
page, `pictures` the number of pictures that were loaded for the first screen, `list_s` the time in which the
table of all cells opens. Needs playwright and a Chromium (CHROMIUM, /usr/bin/chromium).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Result, at_most, effort, finish, parser
from PIL import Image

from lib_ctrlgen.files import save_picture
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import Cell, Grid, TuneSpec, grid_of
from lib_ctrlgen.tuner.finished_cell import FinishedCell
from lib_ctrlgen.tuner.ratings import Ratings
from lib_ctrlgen.tuner.report import Report, report_html
from lib_ctrlgen.tuner.report_data import ReportCells
from lib_ctrlgen.tuner.scoring.recommend import front, recommend
from lib_ctrlgen.tuner.thumbnails import FOLDER, save_thumbnail, thumbnail_name

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
SIDE = 512  # pixels
SHARED = 8  # different pictures
LIMIT = 2.0  # seconds for 1,000 cells
SHOWN = """() => {
  const inside = (box) => box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const all = [...document.querySelectorAll(".grid img")];
  const images = all.filter((image) => inside(image.getBoundingClientRect()));
  return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0);
}"""


def synthetic_grid(side: int) -> Grid:
    """A grid of 10 by `side` by 10 cells."""
    axes = {
        "x": {"path": "Weight of unit 0", "values": "0.1-1 [10]"},
        "y": {"path": "CFG scale", "values": f"1-{side} [{side}]"},
        "z": {"path": "Steps", "values": "11-20 [10]"},
    }
    spec = parse_request({**axes, "force": True}, TuneSpec)
    payload = {"prompt": "a chair in a room", "units": [{"model": "edges"}], "width": SIDE, "height": SIDE}
    return grid_of(payload, spec, GenerationRequest)


def finished_cell(cell: Cell, folder: Path, number: int) -> FinishedCell:
    """A cell with scores, whose picture and thumbnail are links to one of the shared ones."""
    name = f"cells/{cell.key}-00-seed-1.png"
    shared = f"cells/{number % SHARED:016x}-00-seed-1.png"
    for source, target in ((shared, name), (thumbnail_name(shared), thumbnail_name(name))):
        os.link(folder / source, folder / target)
    x, y, z = cell.coords
    means = {"adherence.0": x / 10, "over_control": x * y / 100, "prompt": 0.2 + z / 100}
    spreads = dict.fromkeys(means, 0.0)
    request = parse_request(dict(cell.payload), GenerationRequest)
    return FinishedCell(cell=cell, request=request, files=(name,), means=means, spreads=spreads, reasons={})


def write_report(folder: Path, side: int) -> Path:
    """Write the report of the synthetic grid with its pictures, and return its path."""
    (folder / FOLDER).mkdir()
    noise = np.random.default_rng(0)
    for number in range(SHARED):
        picture = Image.fromarray(noise.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
        name = f"cells/{number:016x}-00-seed-1.png"
        save_picture(picture, folder / name)
        save_thumbnail(picture, folder, name)
    grid = synthetic_grid(side)
    done = [finished_cell(cell, folder, number) for number, cell in enumerate(grid.cells)]
    scored, names = [each.means for each in done], [grid.named(each.cell) for each in done]
    cells = ReportCells(
        grid=grid,
        done=done,
        names=names,
        recipes=["# a job\n" * 40] * len(done),
        choice=recommend(scored, names),
        best=front(scored),
        ratings=Ratings(),
        size=(SIDE, SIDE),
    )
    file = folder / "report.html"
    file.write_text(report_html(Report(cells=cells, use="Run it.")), "utf-8")
    return file


def opened(browser: Any, file: Path) -> tuple[float, float, int]:
    """Open the page once: seconds until the first screen is shown, seconds for the list, loaded pictures."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    start = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_function(SHOWN)
    shown = time.perf_counter() - start
    pictures = len(loaded) - 1
    start = time.perf_counter()
    page.evaluate("document.getElementById('all').open = true")
    page.wait_for_function("document.querySelectorAll('#list tbody tr').length === cells.length")
    listed = time.perf_counter() - start
    context.close()
    return shown, listed, pictures


def main() -> int:
    """Measure, and return the exit code."""
    options = parser(__doc__ or "").parse_args()
    if find_spec("playwright") is None or not Path(CHROMIUM).exists():
        return finish(Result("report (not measured: no playwright, or no Chromium)", {}, {}), options)
    rows = effort(options, smoke=1, quick=10, full=10)
    engine_of = import_module("playwright.sync_api").sync_playwright
    with tempfile.TemporaryDirectory() as name, engine_of() as engine:
        file = write_report(Path(name), rows)
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        runs = [opened(browser, file) for _ in range(effort(options, smoke=1, quick=3, full=9))]
        browser.close()
        figures = {
            "cells": 100.0 * rows,
            "html_mb": file.stat().st_size / 1e6,
            "open_s": statistics.median(run[0] for run in runs),
            "list_s": statistics.median(run[1] for run in runs),
            "pictures": statistics.median(run[2] for run in runs),
        }
    limits = {} if options.smoke else {"open_s": at_most(LIMIT)}
    return finish(Result("report", figures, limits), options)


if __name__ == "__main__":
    sys.exit(main())
