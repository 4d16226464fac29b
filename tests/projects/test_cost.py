"""The estimate of a run's cost: its rows are those that the engine gives the U-Net."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as with_fields

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.guidance import GuidedUNet
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.cost import Work, estimate, step_rows
from lib_ctrlgen.projects.story.assets import planner_of
from lib_ctrlgen.projects.story.pictures import read_story
from lib_ctrlgen.projects.story.run import StoryRun
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

STORY = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.yaml"
TWO = [{"prompt": "a star, {prompt}"}, {"prompt": "a square"}]
QUICK = {"model": "ctrlgen-tiny", "prompt": "red", "width": 64, "height": 64, "steps": 2, "seed": 1}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine([tiny_folder()], threads=1)


def test_the_estimate_grows_with_the_work() -> None:
    small = Work.guided(1, 20, 0, (512, 512), "SD1.5")
    large = Work.guided(4, 20, 0, (1024, 512), "SD1.5")
    assert large.seconds(20) == pytest.approx(8 * small.seconds(20))
    assert small.seconds(10) == pytest.approx(40 * 0.68 / 10)
    assert "no estimate" in estimate(Work.guided(1, 1, 1, (64, 64), "custom"))


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, 2),
        ({"cfg_scale": 1, "batch_size": 2}, 2),
        ({"prompt": "red AND blue", "batch_size": 2}, 6),
        ({"blend": {"mode": "prediction", "concepts": TWO}}, 3),
        ({"blend": {"mode": "embedding", "concepts": TWO}}, 2),
    ],
)
def test_rows_are_those_of_the_engine(
    engine: Engine, fields: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, call = [], GuidedUNet._call

    def counted(unet: GuidedUNet, x: Any, *rest: Any) -> Any:
        called.append(len(x))
        return call(unet, x, *rest)

    monkeypatch.setattr(GuidedUNet, "_call", counted)
    request = parse_request(QUICK | fields, GenerationRequest)
    engine.generate(request)
    assert set(called) == {step_rows(request)} == {rows}


@pytest.mark.parametrize(
    ("consistency", "per_step"), [("seed", 6 * 2 + 11 * 3), ("aligned", 10 * 2 + 15 * 3)]
)
def test_a_story_counts_the_rows_of_its_blends_and_shared_pictures(
    engine: Engine, consistency: str, per_step: int
) -> None:
    read = read_story(STORY)
    read = replace(read, story=with_fields(read.story, consistency=consistency))
    planner = planner_of(read, engine.store)
    cost = StoryRun(read=read, out=Path("unused"), engine=engine).cost(planner, planner.assets())
    assert f"17 assets; about {planner.pictures} pictures of 12 steps, {12 * per_step} rows" in cost
