"""The recipes in examples/client run, and docs/recipes.md shows them as they are."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.scripted_server import answers, routed, scripted
from tests.support.webui_answers import encoded, generation

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "examples" / "client").glob("*.py"))
PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
CELL = {"coords": [0], "values": ["0"], "scores": {}, "sd": {}, "reasons": {}, "files": ["cells/a.png"]}
STATUS = {
    "id": "recipe",
    "state": "done",
    "done": 1,
    "total": 1,
    "seconds_left": None,
    "cells": [CELL | {"error": ""}],
    "recommended": {"cell": 0, "reason": "It is the only one."},
    "error": "",
    "scores_version": 3,
}
ROUTES = {
    "txt2img": answers(generation("red", others=1)),
    "img2img": answers(generation("red", others=1)),
    "tune": answers({"id": "recipe", "cells": 1, "pictures": 1}, 202),
    "recipe": answers(STATUS),
    "detect": answers({"images": [encoded("red")] * 5, "poses": [None] * 5, "warnings": []}),
    "other": answers(b"a file"),
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_and_writes_what_it_prints(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    with scripted(routed(**ROUTES)) as (url, server):
        monkeypatch.setattr(sys, "argv", [str(recipe), url])
        exec(compile(recipe.read_text("utf-8"), str(recipe), "exec"), {"__name__": "__main__"})
    assert server.received
    written = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert written
    printed = capsys.readouterr().out
    assert all(str(path.relative_to(tmp_path)) in printed for path in written)


def test_the_page_shows_the_recipes() -> None:
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(RECIPES) == 5
    assert all(recipe.read_text("utf-8") in shown for recipe in RECIPES), "copy examples/client into the page"
