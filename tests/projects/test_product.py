"""`ctrlgen product` on the bundled tiny model, with a striped ball that it never saw, trained in seconds."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.product.diagnosis.run import diagnosed
from lib_ctrlgen.projects.product.environments import Environment, named
from lib_ctrlgen.projects.product.result import ProductResult
from lib_ctrlgen.projects.product.run import ProductRun
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.projects.product.views import ProductFolders
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train import validation
from lib_ctrlgen.train.tiny.subject import subject_views, write_views
from tests.support.training import leave_out_estimate

PLACES = named(
    [Environment(prompt="on a red background"), Environment(prompt="on a green background", x=0.4)]
)
NAMES = tuple(each.name for each in PLACES)
# The smallest training that learns the ball; the usual one has 300 steps.
TRAINING = {
    "steps": 40,
    "part": "whole",
    "lr": 4e-3,
    "warmup": 0,
    "ema": 0.0,
    "drop_text": 0.0,
    "validate_every": 0,
    "preview_steps": 1,
    "prompts": ("a circle",),
}
Go = Callable[..., ProductRun]


class CountingEngine(Engine):
    """Counts generations."""

    made = 0

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        self.made += 1
        return super().generate(*args, **kwargs)


def no_training(_spec: TrainingSpec) -> Engine:
    raise AssertionError("nothing is to be trained")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ball with twelve views."""
    folder = tmp_path_factory.mktemp("product")
    write_views(subject_views(0), folder / "ball")
    return folder


@pytest.fixture(scope="module")
def engine(root: Path) -> CountingEngine:
    folder = tiny_folder()
    place = Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=folder / "text")
    return CountingEngine([folder, root / "shots" / "adapter"], threads=1, place=place)


@pytest.fixture(scope="module")
def go(root: Path, engine: CountingEngine) -> Go:
    """A run on the ball with some settings; with the adapter of the first run, unless told otherwise."""

    def run(
        out: str, *, trained: bool = True, changed: dict[str, Any] | None = None, **fields: Any
    ) -> ProductRun:
        given = {"engine_for": no_training, "adapter": root / "shots" / "adapter" / "product.safetensors"}
        training = {"engine_for": lambda _spec: engine, "training": TRAINING}
        return ProductRun(
            **{
                "folders": ProductFolders.of(root / "ball"),
                "out": root / out,
                "settings": ProductSettings(**{"steps": 8, **(changed or {})}),
                "environments": PLACES,
                "engine": engine,
                **(given if trained else training),
                **fields,
            }
        )

    return run


@pytest.fixture(scope="module")
def shots(go: Go) -> ProductResult:
    """The run that trains. Its estimate, and losses at many noise levels, would take as long as its steps."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_estimate(patch)
        patch.setattr(validation, "LEVELS", 1)
        return go("shots", trained=False)()


def likeness(records: tuple[dict[str, Any], ...]) -> float:
    return float(np.mean([each["likeness"] for each in records]))


def test_the_trained_adapter_shows_the_product_and_the_report_says_how_much(shots: ProductResult) -> None:
    """Likeness to views that no training saw is the measure; without the adapter it is clearly lower."""
    assert tuple(each["environment"] for each in shots.records) == NAMES
    assert likeness(shots.records) > likeness(shots.without) + 0.3
    value = shots.threshold.value
    assert value is not None
    assert likeness(shots.without) < value < min(shots.threshold.real)
    assert shots.flagged == tuple(each["name"] for each in shots.records if each["likeness"] < value)
    out = shots.report.parent
    page = shots.report.read_text("utf-8")
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all((out / link).is_file() for link in links)
    assert all(f"likeness {each['likeness']:.2f}" in page for each in shots.records)
    assert "halfway between, is flagged" in page
    numbers = json.loads((out / "numbers.json").read_text("utf-8"))
    assert numbers["pictures"] == {each["name"]: each["likeness"] for each in shots.records}
    with Image.open(shots.contact[0]) as contact:
        assert np.asarray(contact.convert("RGB")).std() > 10
    assert {each.name for each in shots.findings if each.bad} == set()


def test_nothing_is_trained_or_made_twice(shots: ProductResult, go: Go, engine: CountingEngine) -> None:
    before = engine.made
    again = go("shots", trained=False, engine_for=no_training)()
    assert (again.made, engine.made - before) == (0, 0)
    assert again.records == shots.records
    assert again.adapter == shots.adapter


def test_a_picture_is_its_job(shots: ProductResult, engine: CountingEngine) -> None:
    folder = shots.report.parent / "pictures" / NAMES[1]
    made = engine.generate(read_job(folder / "job.yaml").request).images[0]
    saved = Image.open(folder / "picture.png").convert("RGB")
    assert np.abs(np.asarray(made).astype(int) - np.asarray(saved).astype(int)).max() <= 1


def test_pictures_that_lost_the_product_are_flagged(shots: ProductResult, go: Go) -> None:
    """At weight 0 the adapter does nothing, so that every picture has lost the product."""
    lost = go("lost", changed={"identity": 0.0, "steps": 4})()
    assert lost.flagged == NAMES
    assert lost.report.read_text("utf-8").count('class="badge"') == 2
    assert shots.flagged != NAMES


def test_an_interrupted_run_goes_on_where_it_stopped(
    shots: ProductResult, go: Go, engine: CountingEngine
) -> None:
    """Also after kill -9, which leaves a hidden folder behind."""

    def interrupt(phase: str, done: int, _total: int) -> None:
        if (phase, done) == ("pictures", 3):
            raise KeyboardInterrupt

    changed = {"steps": 2}
    assert shots.records
    stopped = go("stopped", changed=changed, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert "1 of 2 pictures made" in (stopped.out / "report.html").read_text("utf-8")
    (stopped.out / "pictures" / ".draft-killed").mkdir()
    before = engine.made
    result = go("stopped", changed=changed)()
    assert (result.made, engine.made - before, len(result.records)) == (1, 1, 2)
    assert not list((stopped.out / "pictures").glob(".*"))


def test_a_bad_data_set_is_diagnosed_by_name(shots: ProductResult, root: Path, go: Go) -> None:
    """Data is mended first; the weight curve comes from the tuner, and each answer has its number."""
    assert shots.records
    write_views(subject_views(0, 4), root / "few")
    folders = ProductFolders.of(root / "few")
    found = diagnosed(go("diagnosed", changed={"steps": 6}, environments=PLACES[:1], folders=folders))
    assert found.first is not None
    assert (found.first.topic, found.first.name) == ("data", "few-views")
    assert "4 views" in found.first.seen
    good = {each.name for each in found.findings if each.verdict == "good"}
    assert good >= {"blur", "one-background", "encoder-blind", "weight-too-low"}
    assert {each.topic for each in found.findings} == {"data", "base model", "encoder", "weight"}
    low, high = (found.curve.likeness[found.curve.weights.index(weight)] for weight in (0.0, 1.0))
    assert high > low + 0.2
    assert "4 views" in found.page.read_text("utf-8")
    assert (root / "diagnosed" / "tuning" / NAMES[0] / "report.html").is_file()


def test_a_product_that_cannot_be_placed(root: Path, go: Go, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        noise = rng.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    with pytest.raises(RequestError, match="--placement: no view shows where the product is"):
        go("unplaced", folders=ProductFolders.of(tmp_path))()
    assert not (root / "unplaced").exists()
