"""`ctrlgen blueprint` from the command line: options, mistakes, exit codes."""

from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from tests.support import stranger
from tests.support.command_line import Captured, fails, visible

QUICK = ["--size", "64", "--steps", "1", "--kinds", "depth", "--strength", "1", "--threads", "1"]


def test_one_sketch_is_rendered_and_not_again(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["blueprint", str(tmp_path / "in"), "--draw", "1", "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'in' / 'elevation-3.png'}\n"
    command = ["blueprint", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *QUICK]
    for text in ("1 sheets rendered, 0 were there already", "0 sheets rendered, 1 were there already"):
        assert cli.main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [
            text,
            str(tmp_path / "out" / "index.html"),
            str(tmp_path / "out" / "contact-sheet.jpg"),
        ]
    assert visible(tmp_path / "out") == ["contact-sheet.jpg", "index.html", "setup.json", "sheets"]
    sheet = tmp_path / "out" / "sheets" / "elevation-3"
    assert visible(sheet) == [
        "cleaned.png",
        "job.yaml",
        "lines.png",
        "map-depth.png",
        "original.jpg",
        "rendering.png",
        "report.html",
        "result.json",
    ]


def test_files_that_are_left_out_are_named_and_the_code_says_so(tmp_path: Path, capsys: Captured) -> None:
    stranger.sketch().save(tmp_path / "plan.png")
    (tmp_path / "notes.txt").write_text("x")
    assert cli.main(["blueprint", str(tmp_path), "--out", str(tmp_path / "out"), *QUICK]) == 3
    err = capsys.readouterr().err
    assert "notes.txt: no readable picture" in err
    assert "1 files were left out" in err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ["--kinds", "lines"],
            "--kinds: no model for 'lines' fits ctrlgen-tiny; there are models for edges, depth",
        ),
        (["--kinds", "edgse"], "--kinds: unknown kind 'edgse'"),
        (["--strength", "much"], "--strength: a weight such as 0.8, or auto, not 'much'"),
        (["--strength", "3"], "--strength: expected `float` <= 2.0"),
        (["--size", "7"], "--size: '7' is no size from 64 to 4096"),
        (
            ["--look", "missing.png"],
            "--look: 'missing.png' is neither seed nor aligned, nor a picture's file",
        ),
        (["--model", "missing"], "--model"),
        (["--prompt", "a {thing}"], "--prompt: unknown {thing} in the template"),
        (["--seed", "-1"], "--seed: expected `int` >= 0"),
        (["--draw", "2"], "--draw: "),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    options: list[str], problem: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "plan.png")
    assert problem in fails(
        ["blueprint", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options], capsys
    )
    assert not (tmp_path / "out" / "sheets").exists()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_files(name: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    text = fails(["blueprint", str(tmp_path / name), "--out", str(tmp_path / "out"), *QUICK], capsys)
    assert ("has no files" if name == "empty" else "does not exist") in text
