"""`ctrlgen blueprint` on the bundled tiny model: lines are kept, the look is one, nothing is made twice."""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.blueprint.recipes import save_recipes
from lib_ctrlgen.projects.blueprint.run import BlueprintResult, Run
from lib_ctrlgen.projects.blueprint.settings import BlueprintSettings, sheet_size
from lib_ctrlgen.projects.blueprint.sketches.sketch import save_sketches
from lib_ctrlgen.recipes.library import Library
from tests.support import stranger

ROOT = Path(__file__).resolve().parents[2]
SHEETS = ("elevation-1", "plan-0", "plan-2")
COLOURLESS = "a shape on a background"
QUICK = {"size": "80", "steps": 4, "kinds": ("depth",), "strength": 1.0}
Go = Callable[..., BlueprintResult]


class CountingEngine(Engine):
    """Counts generations."""

    made = 0

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        self.made += 1
        return super().generate(*args, **kwargs)


@pytest.fixture(scope="module")
def engine() -> CountingEngine:
    return CountingEngine([tiny_folder()], threads=1)


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sketches")
    save_sketches(folder, 3, size=(256, 192))
    return folder


@pytest.fixture
def go(engine: CountingEngine, sketches: Path, tmp_path: Path) -> Go:
    """Run on the sketches with some settings."""

    def run(out: str = "out", shown: Image.Image | None = None, **settings: Any) -> BlueprintResult:
        wanted = BlueprintSettings(**{**QUICK, **settings})
        return Run(folder=sketches, out=tmp_path / out, settings=wanted, engine=engine, look=shown)()

    return run


def pictures(result: BlueprintResult) -> list[np.ndarray]:
    folders = [result.index.parent / "sheets" / record["name"] for record in result.records]
    return [np.asarray(Image.open(folder / "rendering.png").convert("RGB")) for folder in folders]


def mean_colour(shown: np.ndarray) -> np.ndarray:
    """The mean in CIE Lab."""
    lab = cv2.cvtColor(shown.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab.reshape(-1, 3).mean(0))


def apart(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mean distance of the mean colours of two renderings."""
    return float(np.mean([np.linalg.norm(mean_colour(one) - mean_colour(other)) for one, other in pairs]))


def pairs_of(shown: list[np.ndarray]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    return itertools.combinations(shown, 2)


def recall(result: BlueprintResult) -> float:
    return float(np.mean([record["lines"]["recall"] for record in result.records]))


def mean_f1(result: BlueprintResult) -> float:
    return float(np.mean([record["lines"]["f1"] for record in result.records]))


def test_the_tuner_finds_controls_that_keep_the_lines(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearly more than without control; everything that the user opens is there."""
    monkeypatch.setattr("lib_ctrlgen.projects.blueprint.run.SAMPLES", 2)
    prompt = "a white shape on a blue plain background"
    with_control = go(kinds=("edges", "depth"), strength=1.0, prompt=prompt, size="96", steps=6)
    without = go("free", strength=0.0, prompt=prompt, size="96", steps=6)
    assert tuple(record["name"] for record in with_control.records) == SHEETS
    assert mean_f1(with_control) > mean_f1(without) + 0.15
    assert recall(with_control) > recall(without) + 0.1
    assert "3 combinations of control and strength on 2 sheets (elevation-1, plan-2)" in (
        with_control.setup.reason
    )
    assert re.search(r"Its adherence is 0\.\d\d, within 5% of the best", with_control.setup.reason)
    assert len(with_control.setup.reports) == 2
    out = tmp_path / "out"
    links = re.findall(r'(?:src|href)="([^"]+)"', (out / "index.html").read_text("utf-8"))
    assert all((out / link).is_file() for link in links)
    for name in SHEETS:
        page = (out / "sheets" / name / "report.html").read_text("utf-8")
        shown = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert all((out / "sheets" / name / link).is_file() for link in shown)
        assert f"{100 * record_of(with_control, name)['lines']['recall']:.0f} %" in page
    with Image.open(with_control.contact[0]) as contact:
        assert np.asarray(contact.convert("RGB")).std() > 10


def record_of(result: BlueprintResult, name: str) -> dict[str, Any]:
    return next(record for record in result.records if record["name"] == name)


def test_strength_is_searched_from_weak_to_strong(
    engine: CountingEngine, sketches: Path, tmp_path: Path
) -> None:
    """The recommended weight is one of those near the best mean F1 of the drawing's lines."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "plan.png").write_bytes((sketches / "plan-2.png").read_bytes())
    settings = BlueprintSettings(**{**QUICK, "strength": None, "size": "64"})
    phases: list[tuple[str, int, int]] = []
    run = Run(
        folder=tmp_path / "one",
        out=tmp_path / "out",
        settings=settings,
        engine=engine,
        progress=lambda *now: phases.append(now),
    )
    result = run()
    cells = json.loads((tmp_path / "out" / "tuning" / "plan" / "cells.json").read_text("utf-8"))["cells"]
    scores = {float(cell["values"][0]): cell["scores"]["adherence"] for cell in cells}
    assert list(scores) == [0.4, 0.6, 0.8, 1.0, 1.2]
    assert scores[result.setup.weight] >= 0.95 * max(scores.values())
    assert phases[-1] == ("sheets", 1, 1)
    assert ("strength", 5, 5) in phases


def test_one_look_is_more_alike_than_independent_seeds(go: Go) -> None:
    small = {"prompt": COLOURLESS, "size": "80", "steps": 4}
    by_seed = [pictures(go(f"seed-{seed}", seed=seed, **small)) for seed in range(2)]
    independent = apart(
        (by_seed[a][one], by_seed[b][other])
        for a, b in itertools.permutations(range(2), 2)
        for one, other in itertools.permutations(range(3), 2)
    )
    assert np.mean([apart(pairs_of(shown)) for shown in by_seed]) < 0.7 * independent
    look = Image.open(ROOT / "examples" / "pictures" / "look.png").convert("RGB")
    shown = pictures(go("look", look, look="picture", look_weight=1.0, **small))
    assert apart(pairs_of(shown)) < 0.4 * independent
    assert apart((each, np.asarray(look)) for each in shown) < apart(
        (each, np.asarray(look)) for each in itertools.chain(*by_seed)
    )


def test_aligned_sheets_are_jobs_of_two_pictures_and_any_job_makes_the_same_picture(
    go: Go, engine: CountingEngine, tmp_path: Path
) -> None:
    aligned = go("aligned", look="aligned", prompt=COLOURLESS, steps=2)
    plain = go("plain", prompt=COLOURLESS, steps=2)
    first, second = (tmp_path / "aligned" / "sheets" / name for name in SHEETS[:2])
    assert read_job(first / "job.yaml").request.batch_size == 1
    assert read_job(second / "job.yaml").request.batch_size == 2
    assert np.array_equal(pictures(aligned)[0], pictures(plain)[0])  # it gives the style, and takes none
    assert not np.array_equal(pictures(aligned)[1], pictures(plain)[1])
    for folder in (second, tmp_path / "plain" / "sheets" / SHEETS[2]):
        again = engine.generate(read_job(folder / "job.yaml").request).images[-1]
        saved = Image.open(folder / "rendering.png").convert("RGB")
        assert np.abs(np.asarray(again).astype(int) - np.asarray(saved).astype(int)).max() <= 1


def test_an_interrupted_run_goes_on_where_it_stopped(
    engine: CountingEngine, sketches: Path, tmp_path: Path
) -> None:
    def interrupt(phase: str, done: int, _total: int) -> None:
        if (phase, done) == ("sheets", 2):
            raise KeyboardInterrupt

    settings = BlueprintSettings(**{**QUICK, "size": "64", "steps": 2})
    places = {"folder": sketches, "out": tmp_path, "settings": settings, "engine": engine}
    with pytest.raises(KeyboardInterrupt):
        Run(**places, progress=interrupt)()
    assert "2 of 3 sheets rendered" in (tmp_path / "index.html").read_text("utf-8")
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == list(SHEETS[:2])
    (tmp_path / "sheets" / ".draft-killed").mkdir()  # as kill -9 leaves it
    before = engine.made
    result = Run(**places)()
    assert (engine.made - before, result.made, len(result.records)) == (1, 1, 3)
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == list(SHEETS)
    assert Run(**places)().made == 0
    (sketches / "plan-2.png").touch()
    changed = BlueprintSettings(**{**QUICK, "size": "64", "steps": 3})
    assert Run(**{**places, "settings": changed})().made == 3


def test_a_strangers_folder(engine: CountingEngine, tmp_path: Path) -> None:
    stranger.write_folder(tmp_path / "in")
    lines: list[str] = []
    settings = BlueprintSettings(**{**QUICK, "size": "64", "steps": 1})
    result = Run(
        folder=tmp_path / "in",
        out=tmp_path / "in" / "out",
        settings=settings,
        engine=engine,
        tell=lines.append,
    )()
    assert len(result.records) == 9
    assert len(result.failed) == 7
    assert any("blank.png: no lines were found" in line for line in lines)
    assert any("print.jpg: its CMYK" in line for line in lines)
    assert {tuple(record["size"]) for record in result.records} == {(72, 64)}
    page = (tmp_path / "in" / "out" / "index.html").read_text("utf-8")
    assert "level%201--east--front" in page
    assert "notes.txt: no readable picture" in page


def test_a_folder_in_which_nothing_is_drawn(engine: CountingEngine, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    run = Run(folder=tmp_path, out=tmp_path / "out", settings=BlueprintSettings(**QUICK), engine=engine)
    with pytest.raises(HostError, match=r"no lines were found in any picture of the folder \(blank\.png\)"):
        run()
    assert list((tmp_path / "out" / "sheets").glob("*")) == []


def test_sheets_become_recipes(go: Go, tmp_path: Path) -> None:
    result = go(size="64", steps=1)
    saved = list(save_recipes(result.records, tmp_path / "out", "House", tmp_path / "library"))
    assert saved == [f"House {name}" for name in SHEETS]
    assert sorted(Library(tmp_path / "library").names()) == saved
    again = read_job(tmp_path / "library" / saved[0] / "recipe.yaml").request
    job = read_job(tmp_path / "out" / "sheets" / SHEETS[0] / "job.yaml").request
    assert [unit.image for unit in again.units] == [unit.image for unit in job.units]
    assert again.prompt == job.prompt


@pytest.mark.parametrize(
    ("sheet", "size", "usual", "wanted"),
    [
        ((800, 600), "", 256, (296, 224)),
        ((600, 800), "512", 64, (440, 592)),
        ((9000, 100), "256", 64, (408, 160)),
        ((10, 10), "200x104", 64, (200, 104)),
    ],
)
def test_sizes(sheet: tuple[int, int], size: str, usual: int, wanted: tuple[int, int]) -> None:
    assert sheet_size(sheet, size, usual) == wanted


def test_prompts_are_templates() -> None:
    settings = BlueprintSettings(prompt="{kind}: {drawing}, {name}", model="any")
    assert settings.prompt_for("plan", "ground_floor-2") == (
        "plan: furnished floor plan seen from above, ground floor 2"
    )
    with pytest.raises(RequestError, match=r"unknown \{thing\}"):
        BlueprintSettings(prompt="{thing}")
    for size in ("12", "64x", "big", "9999"):
        with pytest.raises(RequestError, match="no size"):
            BlueprintSettings(size=size)
