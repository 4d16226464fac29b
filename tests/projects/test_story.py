"""`ctrlgen story` on the bundled tiny model: poses are kept, blends monotone, characters the same."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.images.metrics import PALETTE, colour_names, edge_f1, edges
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.story.pictures import ReadStory, read_story
from lib_ctrlgen.projects.story.run import StoryResult, StoryRun
from lib_ctrlgen.projects.story.story_file import StoryFile
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "story"
QUICK = {"width": 64, "height": 64, "steps": 4, "cfg_scale": 4, "prompt": "a {character} {place}"}
STAR = {"name": "Keeper", "prompt": "star"}
POSES = [
    {
        "name": name.title(),
        "controls": [{"kind": "edges", "picture": f"pictures/{name}.png", "weight": 1.2}],
    }
    for name in ("standing", "crouching")
]
PLACES = [
    {"name": "Harbour", "prompt": "on a white striped background"},
    {"name": "Hill", "prompt": "on a black plain background"},
]
BLUE_TO_ORANGE = {
    "name": "Row",
    "concepts": [
        {"prompt": "a blue star on a white plain background"},
        {"prompt": "an orange star on a white plain background"},
    ],
    "mode": "prediction",
    "normalise": True,
    "row": 4,
}


class CountingEngine(Engine):
    """Counts generations, and fails at seeds that are given."""

    made = 0
    broken: frozenset[int] = frozenset()

    def generate(self, request: GenerationRequest, *args: Any, **kwargs: Any) -> Any:
        self.made += 1
        if request.seed in self.broken:
            raise RequestError("$.seed", "the test's failure")
        return super().generate(request, *args, **kwargs)


@pytest.fixture(scope="module")
def engine() -> CountingEngine:
    return CountingEngine([tiny_folder()], threads=1)


def story_of(**fields: Any) -> ReadStory:
    """A story whose pictures are those of the example."""
    story = parse_request({**QUICK, "characters": [STAR], **fields}, StoryFile)
    pictures = read_story(EXAMPLE / "story.yaml").pictures
    return ReadStory(story=story, pictures=pictures)


Go = Callable[..., StoryResult]


@pytest.fixture
def go(engine: CountingEngine, tmp_path: Path) -> Go:
    """Run a story with some fields, without a library of recipes if none is named."""

    def run(out: str = "out", library: str = "", **fields: Any) -> StoryResult:
        where = tmp_path / library if library else None
        return StoryRun(read=story_of(**fields), out=tmp_path / out, engine=engine, library=where)()

    return run


def pictures(result: StoryResult) -> list[np.ndarray]:
    folder = result.index.parent / "assets"
    return [
        np.asarray(Image.open(folder / record["name"] / "result.png").convert("RGB"))
        for record in result.records
        if record["role"] != "portrait"
    ]


def apart(shown: list[np.ndarray]) -> float:
    """The mean distance of the mean colours (CIE Lab) of two pictures: an independent measure of likeness."""
    labs = [cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).mean((0, 1)) for each in shown]
    return float(np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2)]))


def test_poses_are_kept_and_everything_can_be_opened(go: Go, engine: CountingEngine, tmp_path: Path) -> None:
    """Edges F1 against the poses' outlines; the sheet shows the assets; each asset is a recipe."""
    fields = {"poses": POSES, "places": PLACES, "width": 96, "height": 96, "steps": 6}
    result = go(library="library", **fields)
    assert [record["name"] for record in result.records] == [
        "keeper--harbour--standing",
        "keeper--harbour--crouching",
        "keeper--hill--standing",
        "keeper--hill--crouching",
    ]
    poses = [Image.open(EXAMPLE / "pictures" / f"{name}.png") for name in ("standing", "crouching")]
    outlines = [edges(np.asarray(each.resize((96, 96)))) for each in poses]
    shown = pictures(result)
    own = np.mean([edge_f1(each, outlines[number % 2]) for number, each in enumerate(shown)])
    other = np.mean([edge_f1(each, outlines[1 - number % 2]) for number, each in enumerate(shown)])
    assert own > 0.6
    assert own > other + 0.25
    followed = [record["scores"]["adherence.0"] for record in result.records]
    assert np.mean(followed) > 0.4, followed

    page = result.index.read_text("utf-8")
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 2 + 2 * len(shown)
    assert all((tmp_path / "out" / link).is_file() for link in links)
    sheet = np.asarray(Image.open(result.sheets[0]).convert("RGB"), np.float32)
    assert_in_grid(sheet, shown)

    names = Library(tmp_path / "library").names()
    assert names == sorted(record["name"] for record in result.records)
    job = tmp_path / "out" / "assets" / names[0] / "recipe.yaml"
    again = engine.generate(read_job(job).request).images[0]
    wanted = np.asarray(Image.open(job.with_name("result.png")).convert("RGB"))
    assert np.abs(np.asarray(again, int) - wanted).max() <= 2


def assert_in_grid(sheet: np.ndarray, shown: list[np.ndarray]) -> None:
    """Each quarter of a sheet of two rows and columns is more like its own picture than like any other."""
    left, top = 190, 96  # behind the names of rows and columns
    room = sheet[top:, left:]
    half = room.shape[0] // 2, room.shape[1] // 2
    for number in range(4):
        row, column = divmod(number, 2)
        part = room[row * half[0] :, column * half[1] :][: half[0] - 40, : half[1] - 40]
        tile = cv2.resize(part, (32, 32), interpolation=cv2.INTER_AREA)
        small = [
            cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) for each in shown
        ]
        errors = [float(np.abs(tile - each).mean()) for each in small]
        assert int(np.argmin(errors)) == number, errors


def test_likeness_moves_from_one_concept_to_the_other(go: Go) -> None:
    """Blue falls and orange rises along the row, as the report's distances say."""
    result = go(styles=[BLUE_TO_ORANGE], width=96, height=96, steps=6, seed=3)
    row = [each for each, record in zip(pictures(result), result.records, strict=True) if record["role"]]
    assert [record["share"] for record in result.records if record["role"]] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    names = list(PALETTE)
    blue = [float((colour_names(each) == names.index("blue")).mean()) for each in row]
    orange = [float((colour_names(each) == names.index("orange")).mean()) for each in row]
    assert all(after <= before + 0.02 for before, after in itertools.pairwise(blue)), blue
    assert all(after >= before - 0.02 for before, after in itertools.pairwise(orange)), orange
    assert blue[0] > 0.05 > blue[-1]
    assert orange[-1] > 0.05 > orange[0]
    page = result.index.read_text("utf-8")
    assert "go from the first one to the last one without a step back" in page


def test_a_character_stays_the_same_across_its_sheet(go: Go) -> None:
    """With colourless prompts, one seed or one reference makes pictures more alike than independent seeds."""
    fields = {"places": [{"name": "A"}, {"name": "B"}, {"name": "C"}], "prompt": "a star on a background"}
    found = {
        way: apart(pictures(go(way, consistency=way, seed=5, **fields)))
        for way in ("independent", "seed", "reference")
    }
    assert found["seed"] < 0.8 * found["independent"], found
    assert found["reference"] < 0.8 * found["independent"], found


def test_nothing_is_made_twice_and_a_change_makes_only_what_it_touches(
    go: Go, engine: CountingEngine, tmp_path: Path
) -> None:
    go(library="library", poses=POSES)
    before = engine.made
    assert go(library="library", poses=POSES).made == 0
    assert engine.made == before
    changed = [POSES[0], {**POSES[1], "prompt": "", "controls": [{**POSES[1]["controls"][0], "weight": 0.5}]}]  # type: ignore[index]
    result = go(library="library", poses=changed)
    assert (result.made, len(result.records)) == (1, 2)
    library = Library(tmp_path / "library")
    assert [len(library.find(name).history()) for name in ("keeper--crouching", "keeper--standing")] == [2, 1]


def test_an_interrupted_run_shows_what_is_finished_and_goes_on(
    engine: CountingEngine, tmp_path: Path
) -> None:
    def stop(_phase: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    read = story_of(poses=POSES, places=PLACES)
    with pytest.raises(KeyboardInterrupt):
        StoryRun(read=read, out=tmp_path, engine=engine, progress=stop)()
    assert "2 of 4 assets made" in (tmp_path / "index.html").read_text("utf-8")
    (tmp_path / "assets" / ".draft-of-a-killed-run").mkdir()
    (tmp_path / "assets" / "keeper--harbour--standing" / "result.json").write_text('{"key"', "utf-8")
    one = StoryRun(read=read, out=tmp_path, engine=engine, only=["*hill--standing"])()
    assert (one.made, len(one.records)) == (1, 1)
    assert "2 of 4 assets made" in one.index.read_text("utf-8")  # one is found, one is damaged
    result = StoryRun(read=read, out=tmp_path, engine=engine)()
    assert (result.made, len(result.records)) == (2, 4)
    assert not list((tmp_path / "assets").glob(".*"))


def test_an_asset_that_fails_is_told_and_the_others_are_made(
    engine: CountingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "broken", frozenset({9}))
    read = story_of(characters=[STAR, {"name": "Fox", "prompt": "cross", "seed": 9}])
    result = StoryRun(read=read, out=tmp_path, engine=engine)()
    assert len(result.records) == 1
    assert result.failed == ("fox: $.seed: the test's failure",)
    assert "fox: $.seed" in result.index.read_text("utf-8")
    again = StoryRun(read=read, out=tmp_path, engine=engine, only=["keeper"])()
    assert (again.made, len(again.records), len(again.failed)) == (0, 1, 0)
    with pytest.raises(HostError, match="no asset could be made; fox"):
        StoryRun(read=read, out=tmp_path, engine=engine, only=["fox"])()


def test_requests_say_what_the_story_says(engine: CountingEngine) -> None:
    """Mood boards, blends, references and StyleAligned become units and blends of the ordinary request."""
    board = [{"picture": "board/dusk-1.png"}, {"picture": "board/dusk-2.png", "weight": "1>0"}]
    styles = [{"name": "Dusk", "pictures": board, "weight": 0.6}, {**BLUE_TO_ORANGE, "row": 0}]
    read = story_of(poses=POSES, styles=styles, consistency="aligned")
    maker, assets = StoryRun(read=read, out=Path("out"), engine=engine).checked()
    asked = {maker.planner.name(asset): maker.planner.request(asset, "") for asset in assets}
    first, second = asked["keeper--dusk--standing"], asked["keeper--dusk--crouching"]
    assert [unit.get("weight", 1) for unit in first["units"]] == [1.2, 0.6]
    assert [each.get("weight", 1) for each in first["units"][1]["references"]] == [1, "1@0, 0@1"]
    assert second["batch_size"] == 2
    assert second["units"][0]["images"] == [
        read.pictures[f"pictures/{name}.png"] for name in ("standing", "crouching")
    ]
    assert second["units"][-1] == {"control": "style_aligned"}
    assert asked["keeper--row--standing"]["blend"]["normalise"] is True
    for payload in asked.values():
        assert to_payload(parse_request(payload, GenerationRequest)) == payload


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": "missing"}, "$.model"),
        (
            {"poses": [{"name": "x", "controls": [{"kind": "pose", "picture": "pictures/standing.png"}]}]},
            "$.poses[0].controls[0].kind",
        ),
        ({"title": "x" * 60, "places": [{"name": "a" * 18}], "prefix": "x" * 61}, "$.title"),
    ],
)
def test_what_the_models_cannot_do_is_told_before_anything_is_made(
    fields: dict[str, Any], path: str, engine: CountingEngine, tmp_path: Path
) -> None:
    prefix = fields.pop("prefix", "")
    run = StoryRun(read=story_of(**fields), out=tmp_path / "out", engine=engine, prefix=prefix)
    with pytest.raises(RequestError) as caught:
        run()
    assert caught.value.path == path
    assert not (tmp_path / "out").exists()
