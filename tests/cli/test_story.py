"""`ctrlgen story` from the command line: options, mistakes, exit codes."""

import json
from pathlib import Path

import pytest
import yaml

from lib_ctrlgen.cli import main as cli
from tests.support.command_line import Captured, fails, visible

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.yaml"
SMALL = {
    "title": "Small",
    "width": 64,
    "height": 64,
    "steps": 1,
    "characters": [{"name": "Mia", "prompt": "a star"}],
    "places": [{"name": "Sea"}, {"name": "Hill"}],
}


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), "utf-8")
    return path


def test_a_story_is_made_and_not_again(story: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    command = ["story", str(story), "--out", str(out), "--threads", "1"]
    for first in ("2 assets made, 0 were there already", "0 assets made, 2 were there already"):
        assert cli.main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [first, str(out / "index.html"), str(out / "sheets" / "mia.jpg")]
    assert visible(out) == ["assets", "index.html", "recipes", "sheets"]
    assert visible(out / "recipes") == ["mia--hill", "mia--sea"]
    assert visible(out / "assets" / "mia--sea") == ["recipe.yaml", "result.json", "result.png"]


def test_check_lists_and_makes_nothing(story: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert cli.main(["story", str(story), "--out", str(out), "--check", "--only", "*sea"]) == 0
    told = capsys.readouterr()
    assert told.out == "mia--sea\ta star\n"
    assert "1 assets; about 1 pictures of 1 steps, 2 rows" in told.err
    assert not out.exists()
    problem = fails(["story", str(story), "--out", str(out), "--check", "--only", "mai--sea"], capsys)
    assert "--only: no asset is named 'mai--sea' (nearest: mia--sea" in problem


@pytest.mark.parametrize("content", [{}, {"characters": [{"name": "a/b"}]}, {**SMALL, "model": "missing"}])
def test_mistakes_are_told_before_anything_is_made(
    content: dict[str, object], story: Path, tmp_path: Path, capsys: Captured
) -> None:
    story.write_text(yaml.safe_dump(content), "utf-8")
    assert "$." in fails(["story", str(story), "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_the_schema_of_a_story(capsys: Captured) -> None:
    assert cli.main(["schema", "story"]) == 0
    schema = json.loads(capsys.readouterr().out)
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert content.keys() <= schema["$defs"]["StoryFile"]["properties"].keys()
