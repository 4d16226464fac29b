"""Story files: what is wrong is told with its path, and pictures and folders of a stranger are checked."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.projects.story.pictures import read_story
from lib_ctrlgen.projects.story.schema import story_schema
from lib_ctrlgen.projects.story.story_file import StoryFile
from lib_ctrlgen.request.spec import parse_request

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.yaml"
MIA = {"name": "Mia", "prompt": "a girl"}
EDGES = {"kind": "edges", "picture": "a.png"}
TWO = [{"prompt": "cyberpunk, {prompt}"}, {"prompt": "art nouveau, {prompt}"}]


def story_with(**fields: Any) -> dict[str, Any]:
    return {"characters": [MIA], **fields}


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"characters": []}, "$.characters", "length >= 1"),
        ({"heroes": [MIA]}, "$.heroes", "unknown field"),
        ({"characters": [MIA, {"name": "mia "}]}, "$.characters[1].name", "is the same as 'Mia'"),
        ({"characters": [{"name": "a/b"}]}, "$.characters[0].name", "contains /"),
        ({"characters": [{"name": "!!"}]}, "$.characters[0].name", "no letter and no digit"),
        ({"prompt": "a {poses}"}, "$.prompt", "unknown {poses} in the template (nearest: pose"),
        ({"width": 100}, "$.width", "multiple of 8"),
        ({"cfg_scale": 99}, "$.cfg_scale", "must stay within 1..30"),
        ({"sampler": "Eler"}, "$.sampler", "Eler"),
        ({"consistency": "aligned"}, "$.consistency", "needs two poses or more"),
        (
            {"poses": [{"name": "x", "controls": [EDGES | {"kind": "edgse"}]}]},
            "$.poses[0].controls[0].kind",
            "unknown kind 'edgse' (nearest: edges",
        ),
        (
            {"places": [{"name": "x", "controls": [{"kind": "depth"}]}]},
            "$.places[0].controls[0].picture",
            "is required",
        ),
        ({"styles": [{"name": "x", "concepts": TWO[:1]}]}, "$.styles[0].concepts", "one concept is no blend"),
        ({"styles": [{"name": "x", "row": 3}]}, "$.styles[0].row", "two concepts"),
        ({"styles": [{"name": "x", "concepts": TWO, "mode": "seeds"}]}, "$.styles[0].mode", "a style has"),
        (
            {"styles": [{"name": "x", "concepts": [*TWO, {"prompt": "{plaec}"}]}]},
            "$.styles[0].concepts[2].prompt",
            "unknown {plaec}",
        ),
        (
            {"styles": [{"name": "x", "concepts": TWO, "mode": "saliency", "normalise": True}]},
            "$.styles[0].normalise",
            "mode saliency does not use it",
        ),
        ({"styles": [{"name": "x", "weight": "1>"}]}, "$.styles[0].weight", "1>"),
    ],
)
def test_mistakes_have_their_path(fields: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(story_with(**fields), StoryFile)
    assert caught.value.path == path
    assert problem in caught.value.message


def test_the_schema_has_the_fields_of_the_example_and_says_what_they_are() -> None:
    schema = story_schema()
    read_story(EXAMPLE)
    definitions = schema["$defs"]
    for name, part in definitions.items():
        for field, described in part["properties"].items():
            assert described.get("description"), (name, field)
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert content.keys() <= definitions["StoryFile"]["properties"].keys()
    assert "edges" in definitions["StoryControl"]["properties"]["kind"]["enum"]
    assert json.dumps(schema)


def write(folder: Path, **fields: Any) -> Path:
    path = folder / "story.yaml"
    path.write_text(yaml.safe_dump(story_with(**fields)), "utf-8")
    return path


@pytest.mark.parametrize("named", ["missing.png", "notes.png"])
def test_a_picture_that_cannot_be_read_has_its_path(named: str, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    path = write(tmp_path, poses=[{"name": "x", "controls": [EDGES, EDGES | {"picture": named}]}])
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    with pytest.raises(RequestError, match=named) as caught:
        read_story(path)
    assert caught.value.path == "$.poses[0].controls[1].picture"


def test_a_mood_boards_folder_is_read_and_what_is_no_picture_is_named(tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    path = write(tmp_path, styles=[{"name": "x", "board": "board"}])
    with pytest.raises(RequestError, match="has no files") as caught:
        read_story(path)
    assert caught.value.path == "$.styles[0].board"
    (board / "notes.txt").write_text("x")
    with pytest.raises(RequestError, match=r"no usable picture.*notes\.txt"):
        read_story(path)
    Image.new("CMYK", (2000, 100)).save(board / "print.jpg")
    read = read_story(path)
    assert len(read.boards[0]) == 1
    assert len(read.boards[0][0]) < 20_000
    assert [note for note in read.notes if "notes.txt" in note]
    for number in range(32):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(board / f"{number}.png")
    with pytest.raises(RequestError, match="has 33 pictures, and a mood board at most 32"):
        read_story(path)


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\x00"])
def test_files_that_are_no_stories(text: str, tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text(text, "utf-8")
    with pytest.raises(RequestError, match=r"story\.yaml"):
        read_story(tmp_path / "story.yaml")


def test_the_examples_pictures_are_those_that_its_program_draws(tmp_path: Path) -> None:
    """Within the rounding of drawing in other versions of OpenCV."""
    runpy.run_path(str(EXAMPLE.with_name("draw.py")))["main"](tmp_path)
    drawn = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert len(drawn) == 6
    for path in drawn:
        pair = [np.asarray(Image.open(folder / path), int) for folder in (tmp_path, EXAMPLE.parent)]
        assert np.abs(pair[0] - pair[1]).mean() < 1, path
