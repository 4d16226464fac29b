"""`ctrlgen recipes`: a job from its first version to a zip and back."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.cli.recipes import VARIABLE
from tests.support.command_line import Captured, fails, visible

INFOTEXT = (
    "a red star\nSteps: 2, Sampler: Euler, Seed: 0, Size: 64x64, Model hash: 0123456789, Model: ctrlgen-tiny"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kept"


def printed(captured: Captured, *arguments: Any) -> list[str]:
    assert cli.main(["recipes", *map(str, arguments)]) == 0
    return captured.readouterr().out.splitlines()


def result(path: Path, colour: str) -> Path:
    info = PngInfo()
    info.add_itxt("parameters", INFOTEXT)
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(stream, "PNG", pnginfo=info)
    path.write_bytes(stream.getvalue())
    return path


def test_a_job_is_saved_changed_compared_and_restored(folder: Path, job: Path, capsys: Captured) -> None:
    picture = result(job.parent / "out.png", "red")
    (line,) = printed(capsys, "save", "star", job, "--result", picture, "--message", "red")
    first = line.split("\t")[1]
    assert visible(folder / "star") == ["pictures", "recipe.yaml", "result.png"]
    assert "model: ctrlgen-tiny [0123456789]" in (folder / "star" / "recipe.yaml").read_text("utf-8")
    printed(capsys, "save", "star", job, "--set", "steps=3", "--result", result(picture, "blue"))
    assert [row.split("\t")[2] for row in printed(capsys, "history", "star")] == ["Saved", "red"]
    shown = printed(capsys, "diff", "star", "--out", job.parent / "differences")
    assert {"-steps: 2", "+steps: 3"} <= set(shown)
    assert "# result: the largest difference of a value is 255 of 255" in shown
    assert visible(job.parent / "differences") == ["result.png"]
    printed(capsys, "restore", "star", first)
    assert "steps: 2" in printed(capsys, "show", "star")
    assert "steps: 3" in printed(
        capsys, "show", "star", "--version", printed(capsys, "history", "star")[1][:8]
    )
    assert cli.main(["plan", str(folder / "star" / "recipe.yaml")]) == 0


def test_a_cell_of_a_run_is_saved(folder: Path, job: Path, capsys: Captured) -> None:
    cells = job.parent / "grid" / "cells"
    cells.mkdir(parents=True)
    picture = result(cells / "0f3a5c7e9b1d2468-00-seed-5.png", "red")
    assert "no entry of CtrlGen" in fails(["recipes", "save", "cell", "--from-cell", str(picture)], capsys)
    info = PngInfo()
    info.add_itxt("ctrlgen", '{"prompt": "a star", "seed": 5}')
    Image.new("RGB", (8, 8)).save(picture, pnginfo=info)
    (line,) = printed(capsys, "save", "cell", "--from-cell", picture)
    assert line.startswith(str(folder / "cell"))
    assert "seed: 5" in printed(capsys, "show", "cell")
    (job.parent / "grid" / "cells.json").write_text(
        f'{{"cells": [{{"files": ["cells/{picture.name}"]}}], "recommended": {{"cell": 0}}}}', "utf-8"
    )
    printed(capsys, "save", "best", "--from-cell", job.parent / "grid")
    assert visible(folder / "best") == ["recipe.yaml", "result.png"]
    assert "leave out the others" in fails(
        ["recipes", "save", "x", str(job), "--from-cell", str(picture)], capsys
    )
    assert "name a job file" in fails(["recipes", "save", "x"], capsys)


def test_variants_zips_and_names(folder: Path, job: Path, capsys: Captured) -> None:
    printed(capsys, "save", "star", job)
    assert printed(capsys, "branch", "star", "warm light", "--new") == ["  main", "* warm light"]
    assert printed(capsys, "branch", "star", "main") == ["* main", "  warm light"]
    assert printed(capsys, "branch", "star") == ["* main", "  warm light"]
    assert printed(capsys, "export", "star") == ["star.zip"]
    assert printed(capsys, "import", "star.zip") == [str(folder / "star 2")]
    assert printed(capsys, "diff", "star", "--with", "star 2") == ["the texts are the same"]
    printed(capsys, "rename", "star 2", "Stern")
    assert {row.split("\t")[0] for row in printed(capsys, "list")} == {"Stern", "star"}
    assert "add --yes" in fails(["recipes", "delete", "Stern"], capsys)
    printed(capsys, "delete", "Stern", "--yes")
    assert visible(folder) == ["star"]


def test_mistakes_are_one_line(folder: Path, job: Path, capsys: Captured) -> None:
    assert cli.main(["recipes", "list"]) == 0
    assert "no recipes in" in capsys.readouterr().err
    assert "there is no recipe 'sta'; there are none" in fails(["recipes", "show", "sta"], capsys)
    assert "cannot be used as a name" in fails(["recipes", "save", "../x", str(job)], capsys)
    assert "cannot read" in fails(["recipes", "import", "nothing.zip"], capsys)
    picture = result(job.parent / "out.png", "red")
    assert "no entry of CtrlGen" in fails(["recipes", "import", str(picture)], capsys)
    printed(capsys, "save", "star", job)
    assert "no earlier version" in fails(["recipes", "diff", "star"], capsys)
    assert "$.variant: there is no variant 'x'" in fails(["recipes", "branch", "star", "x"], capsys)
