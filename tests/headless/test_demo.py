"""The demo writes every file that its report names, and the report needs no other."""

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.headless import demo
from lib_ctrlgen.headless.engine import Engine, Generation, ShownMap
from lib_ctrlgen.headless.report import Cell, Figure, Grid, Report, Row, Section, report_html, report_json
from lib_ctrlgen.headless.sampling.noise import seeds_of
from lib_ctrlgen.headless.sampling.run import Progress
from lib_ctrlgen.request.plan import compile_plan
from lib_ctrlgen.request.spec import GenerationRequest
from tests.support import control_files as files
from tests.support import headless_models as models


class Page(HTMLParser):
    """The tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href"}]
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def quick(engine: Engine, requests: Sequence[GenerationRequest], progress: Progress) -> list[Generation]:
    """Random pictures instead of sampled ones."""
    progress(len(requests), len(requests))
    return [
        Generation(
            request=request,
            images=tuple(files.picture(128, 128, seed) for seed in seeds_of(request)),
            seeds=seeds_of(request),
            control_maps=tuple(
                ShownMap(index=i, model=unit.model, image=files.picture())
                for i, unit in request.enabled_units
            ),
            plan=compile_plan(request.enabled_units, request.steps),
            seconds=0.0,
        )
        for request in requests
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "generate_all", quick)
        out = tmp_path_factory.mktemp("demo") / "deep" / "out"
        made = demo.run_demo(out, out.parent, lambda _done, _total: None)
    assert made.report == out / "report.html"
    assert made.summary == out / "report.json"
    return out


def test_the_summary_has_exactly_its_fields(folder: Path) -> None:
    summary = json.loads((folder / "report.json").read_text())
    assert list(summary) == ["version", "seconds", "images", "rows", "grid"]
    assert summary["version"] == __version__
    assert list(summary["grid"]) == ["axes", "cells"]
    assert [list(cell) for cell in summary["grid"]["cells"]] == [["coords", "image", "scores"]] * 16


def test_the_grid_is_four_by_four_over_both_weights(folder: Path) -> None:
    grid = json.loads((folder / "report.json").read_text())["grid"]
    first, second = (axis["values"] for axis in grid["axes"])
    assert [axis["path"] for axis in grid["axes"]] == ["units.0.weight", "units.1.weight"]
    assert [cell["coords"] for cell in grid["cells"]] == [[a, b] for a in first for b in second]
    assert all(
        cell["scores"].keys() == {"edges", "colours"} and all(0 <= x <= 1 for x in cell["scores"].values())
        for cell in grid["cells"]
    )


def test_every_named_file_is_there(folder: Path) -> None:
    summary = json.loads((folder / "report.json").read_text())
    named = [*summary["images"], *(cell["image"] for cell in summary["grid"]["cells"])]
    assert len(set(summary["images"])) == len(summary["images"]) == 12 * 4 + 16
    for name in named:
        with Image.open(folder / name) as image:
            assert image.size == (128, 128)
            assert json.loads(image.info["ctrlgen"])["model"] == "ctrlgen-tiny"
    assert len(list((folder / "maps").iterdir())) == 1 + 1 + 1 + 3 + 3 + 4
    assert len(list((folder / "plans").iterdir())) == 9
    assert {path.name for path in (folder / "inputs").iterdir()} == {
        "layout.png",
        "edges.png",
        "depth.png",
        "look.png",
        "sketch.png",
    }


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.seen
    assert "link" not in page.seen
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.addresses) == 5 + 12 * 4 + 13 + 16
    assert "url(" not in text
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in text


def test_the_page_shows_the_schedules(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    assert text.count('class="ctrlgen-plan"') == 3
    assert "1@0, 1@0.3 ease-in-out, 0@0.6" in text


def test_texts_are_escaped() -> None:
    figure = Figure(file="a.png", image=Image.new("RGB", (8, 8)), caption='"<b>"')
    row = Row(
        name="x",
        title="<i>",
        text="&",
        units=("<u>",),
        images=(figure,),
        maps=(),
        scores={"edges": 1.0},
        plan="",
    )
    cells = (Cell(coords=(0.0, 0.0), image=figure, scores={"edges": 0.0}),)
    grid = Grid(axes=(("a", "<A>", (0.0,)), ("b", "B", (0.0,))), cells=cells)
    sections = (Section(title="<a>", text="<b>", rows=(row,)),)
    report = Report(
        seconds=1.0, prompt="<script>", settings="<s>", sources=(figure,), sections=sections, grid=grid
    )
    page = Page(report_html(report))
    assert page.open == []
    assert not {"script", "i", "u", "s"} & set(page.seen) - {"i"}
    assert "&lt;script&gt;" in report_html(report)
    assert json.loads(report_json(report))["images"] == ["a.png", "a.png"]


def test_a_picture_follows_itself() -> None:
    sources = demo.draw_sources()
    assert sources.scores(sources.layout)["edges"] == 1.0
    assert sources.scores(sources.look)["colours"] == 1.0
    assert sources.scores(sources.look)["edges"] < 0.7
    assert sources.scores(sources.layout)["colours"] < 0.1
    assert sources.scores(sources.sketch, "sketch") == {"place": 1.0, "words": 0.0}


def test_the_demo_runs_on_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.write_model(tmp_path / "tiny")
    for name, value in {"STEPS": 1, "PICTURES": 1, "WEIGHTS": (0.0, 1.0)}.items():
        monkeypatch.setattr(demo, name, value)
    told: list[tuple[int, int]] = []
    made = demo.run_demo(tmp_path / "out", tmp_path / "tiny", lambda *now: told.append(now))
    assert told == [(i + 1, 19) for i in range(19)]
    assert made.pictures == 19
    assert (tmp_path / "out" / "report.html").is_file()
