"""`ctrlgen detect` with a detector of poses."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from tests.support.command_line import Captured, fails, visible
from tests.support.fake_pose_networks import DETECTOR, RED, WHOLE_BODY, FakeRuntime, scene

NAME = "dw_openpose_full"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture of a person and one without; the weights are in CtrlGen's own folder."""
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime().module())
    weights, folder = tmp_path / "own" / "ControlNetPreprocessor", tmp_path / "photos"
    for each in (weights, folder):
        each.mkdir(parents=True)
    for name in (DETECTOR, WHOLE_BODY):
        (weights / name).write_bytes(b"onnx")
    scene(RED, (120, 60, 220, 360), (180, 190)).save(folder / "person.png")
    scene(None, (120, 60, 220, 360), (180, 190)).save(folder / "nobody.png")
    return folder


def test_the_pose_is_drawn_and_written_and_nobody_is_a_warning(
    photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "maps"
    assert cli.main(["detect", NAME, str(photos), "--out", str(out)]) == 0
    assert visible(out) == ["nobody.json", "nobody.png", "person.json", "person.png"]
    pose = pose_of(json.loads((out / "person.json").read_text()))
    assert Image.open(out / "person.png").tobytes() == draw(pose, (500, 400)).tobytes()
    assert json.loads((out / "nobody.json").read_text())["people"] == []
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    assert "nobody.png: the control map has one colour: 'dw_openpose_full' finds nothing" in warning
    again = tmp_path / "again"
    assert cli.main(["detect", "openpose_json", str(out / "person.json"), "--out", str(again)]) == 0
    assert (again / "person.png").read_bytes() == (out / "person.png").read_bytes()


def test_without_weights_the_error_says_what_to_do(photos: Path, tmp_path: Path, capsys: Captured) -> None:
    weights = tmp_path / "own" / "ControlNetPreprocessor"
    (weights / WHOLE_BODY).unlink()
    arguments = ["detect", NAME, str(photos), "--out", str(tmp_path / "maps")]
    message = fails(arguments, capsys)
    assert f"$.preprocessor: the weights {WHOLE_BODY} " in message
    assert f"put the file into {weights}, or run: " in message
    assert f"models get {WHOLE_BODY} --folder" in message
