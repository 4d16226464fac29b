"""Whole runs over 200 pictures, interrupted and continued. A stand-in for the engine paints them at once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.blueprint.run import Run
from lib_ctrlgen.projects.blueprint.settings import BlueprintSettings
from lib_ctrlgen.projects.contact_sheet import PER_PAGE
from lib_ctrlgen.projects.product.environments import Environment, named
from lib_ctrlgen.projects.product.run import ProductRun
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.projects.product.views import ProductFolders
from lib_ctrlgen.request.plan import compile_plan
from lib_ctrlgen.request.spec import GenerationRequest

COUNT, STOP, VIEWS = 200, 120, 12
PAGES = -(-COUNT // PER_PAGE)
LINKS = re.compile(r'(?:src|href)="([^"]+)"')


class PaintingEngine(Engine):
    """Paints a picture of the seed's colour instead of generating one, and counts."""

    made = 0

    def generate(self, request: GenerationRequest, *_: Any, **__: Any) -> Generation:
        self.made += 1
        size = (request.width, request.height)
        return Generation(
            request=request,
            images=(Image.new("RGB", size, (self.made % 256, request.seed % 256, 90)),),
            seeds=(request.seed,),
            control_maps=(),
            plan=compile_plan(request.enabled_units, request.steps),
            seconds=0.0,
        )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PaintingEngine:
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)  # which would be most of the time
    return PaintingEngine([tiny_folder()], threads=1)


def stop_at(phase: str) -> Callable[[str, int, int], None]:
    """A progress function that interrupts the run."""

    def progress(now: str, done: int, _total: int) -> None:
        if (now, done) == (phase, STOP):
            raise KeyboardInterrupt

    return progress


def draw(folder: Path, count: int, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> Path:
    """Small pictures in a folder."""
    folder.mkdir()
    for number in range(count):
        picture = Image.new("RGB", (64, 64), "white")
        paint(ImageDraw.Draw(picture), number)
        picture.save(folder / f"{number:03}.png")
    return folder


def require_links(page: Path, least: int) -> None:
    links = [link for link in LINKS.findall(page.read_text("utf-8")) if "://" not in link]
    assert len(links) >= least
    assert all((page.parent / link).is_file() for link in links)


def test_two_hundred_sheets(engine: PaintingEngine, tmp_path: Path) -> None:
    def sketch(pen: ImageDraw.ImageDraw, number: int) -> None:
        pen.rectangle((4 + number % 14, 4 + number // 14, 56, 56), outline="black", width=2)

    settings = BlueprintSettings(size="64", steps=1, kinds=("depth",), strength=1.0)
    places: dict[str, Any] = {"folder": draw(tmp_path / "in", COUNT, sketch), "out": tmp_path / "out"}
    places |= {"settings": settings, "engine": engine}
    with pytest.raises(KeyboardInterrupt):
        Run(**places, progress=stop_at("sheets"))()
    assert engine.made == STOP
    result = Run(**places)()
    assert (result.made, engine.made, len(result.records), result.failed) == (COUNT - STOP, COUNT, COUNT, ())
    assert [path.name for path in result.contact][-1] == f"contact-sheet-{PAGES}.jpg"
    assert len(result.contact) == PAGES == 9
    require_links(result.index, 2 * COUNT)


def test_two_hundred_environments(engine: PaintingEngine, tmp_path: Path) -> None:
    def view(pen: ImageDraw.ImageDraw, number: int) -> None:
        pen.ellipse((8 + number % 14, 8 + number // 14, 52, 52), fill=(20 * number, 40, 255 - 20 * number))

    run: dict[str, Any] = {
        "folders": ProductFolders.of(draw(tmp_path / "in", VIEWS, view)),
        "out": tmp_path / "out",
        "settings": ProductSettings(steps=1, size=64),
        "environments": named([Environment(prompt=f"in place {number}") for number in range(COUNT)]),
        "engine": engine,
        "engine_for": lambda _spec: pytest.fail("nothing is to be trained"),
        "adapter": tiny_folder() / "ControlNet" / "ctrlgen-tiny-ip.safetensors",
    }
    with pytest.raises(KeyboardInterrupt):
        ProductRun(**run, progress=stop_at("pictures"))()
    assert engine.made == STOP
    result = ProductRun(**run)()
    shots = COUNT + len(result.without)
    assert (result.made, engine.made, len(result.records)) == (shots - STOP, shots, COUNT)
    assert len(result.contact) == PAGES
    require_links(result.report, COUNT)
