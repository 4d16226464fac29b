"""`ctrlgen product` from the command line: options, mistakes, exit codes."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.cli import product_app
from lib_ctrlgen.models.bundled import tiny_folder
from tests.support.command_line import Captured, fails, visible


def test_views_are_drawn_and_shot_with_a_given_adapter(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["product", str(tmp_path / "ball"), "--draw", "3", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert visible(tmp_path / "ball") == ["masks", "others", "pictures"]
    (tmp_path / "places.txt").write_text("on a red background\n")
    (tmp_path / "ball" / "pictures" / "notes.pdf").write_text("x")
    command = [
        "product",
        str(tmp_path / "ball"),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "1",
        "--size",
        "64",
    ]
    command += ["--environments", str(tmp_path / "places.txt"), "--threads", "1"]
    command += ["--adapter", str(next(tiny_folder().rglob("ctrlgen-tiny-ip.safetensors")))]
    assert cli.main(command) == 3
    out, err = capsys.readouterr()
    assert "2 pictures made" in out
    assert "on-a-red-background" in out
    assert "notes.pdf: no readable picture" in err
    assert visible(tmp_path / "out") == [
        "contact-sheet.jpg",
        "history",
        "numbers.json",
        "pictures",
        "product.json",
        "report.html",
    ]
    assert cli.main(command) == 3
    assert "0 pictures made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--identity", "3"], "--identity: must stay within 0..2, is 3"),
        (["--size", "7"], "--size: is 7: from 64"),
        (["--cfg", "0.5"], "--cfg: is 0.5"),
        (["--adapter", "missing.safetensors"], "--adapter: "),
        (["--environments", "missing.txt"], "cannot read"),
        (["--train", "steps"], "--train: expected FIELD=VALUE"),
        (["--train", "stpes=3"], "--train: unknown field 'stpes'"),
        (["--masks", "missing"], "missing does not exist"),
        (["--model", "missing"], "--model"),
        (["--draw", "2"], "--draw: "),
        (["other"], "one folder is expected"),
        (["--recipes", "folder"], "--recipes: goes with --recipe NAME"),
        (["--recipe", "../mug"], "--recipe: '../mug white' cannot be used as a name"),
        (["--identity", "1>>2"], "--identity: "),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    options: list[str], problem: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "view.png")
    command = ["product", str(tmp_path / "in"), *options, "--out", str(tmp_path / "out")]
    assert problem in fails(command, capsys)
    assert not (tmp_path / "out" / "pictures").exists()


@pytest.mark.parametrize(
    ("found", "said"), [("", "--app needs"), ("3.41.2", "gradio 3.41.2 is installed, and")]
)
def test_the_page_says_what_it_needs(
    found: str, said: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(_name: str) -> str:
        if not found:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr(product_app, "version", version)
    text = fails(["product", str(tmp_path), "--app"], capsys)
    assert said in text
    assert "pip install -e" in text


def test_a_port_that_is_none(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_app, "version", lambda _name: "6.0.0")
    assert "--port: is 70000: from 0" in fails(["product", str(tmp_path), "--app", "--port", "70000"], capsys)


@pytest.mark.parametrize("words", [["product"], ["product", "diagnose"]])
def test_a_folder_without_files(words: list[str], tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "in").mkdir()
    text = fails([*words, str(tmp_path / "in"), "--out", str(tmp_path / "out")], capsys)
    assert "has no files" in text
