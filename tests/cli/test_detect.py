"""`ctrlgen detect` writes control maps of files, folders and patterns."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.preprocessors import preprocessor
from tests.support import control_files as files
from tests.support.command_line import Captured, fails, visible
from tests.support.poses import document


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("frame_002.png", "frame_001.PNG", "[x].png")):
        files.picture(40, 24, number).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_maps_keep_names_and_sizes(photos: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "new" / "maps"
    arguments = ["detect", "canny | invert", str(photos), "--out", str(out)]
    assert cli.main([*arguments, "--set", "low_threshold=30", "--set", "high_threshold=60"]) == 0
    written = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in written] == ["[x].png", "frame_001.png", "frame_002.png"]
    photo = Image.open(photos / "frame_002.png").convert("RGB")
    wanted = preprocessor("invert")(preprocessor("canny")(photo, low_threshold=30, high_threshold=60))
    assert Image.open(out / "frame_002.png").tobytes() == wanted.tobytes()


def test_patterns_files_and_equal_names(photos: Path, tmp_path: Path, capsys: Captured) -> None:
    other = tmp_path / "frame_002.jpg"
    files.picture(16, 16).save(other)
    named = [str(photos / "frame_0*"), str(other), str(photos / "[x].png")]
    assert cli.main(["detect", '["invert"]', *named, "--out", str(tmp_path / "maps")]) == 0
    written = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert written == ["frame_001.png", "frame_002.png", "frame_002-2.png", "[x].png"]


def test_a_broken_file_is_named_and_the_others_are_made(
    photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    (photos / "frame_000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    frames = [files.picture(8, 8, k) for k in range(2)]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    assert cli.main(["detect", "invert", str(photos), "--out", str(tmp_path / "maps")]) == 3
    captured = capsys.readouterr()
    assert "frame_000.png: no readable picture" in captured.err
    assert "warning:" in captured.err
    assert "moving.gif: has several frames" in captured.err
    assert len(captured.out.splitlines()) == 4
    assert cli.main(["detect", "invert", str(photos / "frame_000.png"), "--out", str(tmp_path / "maps")]) == 2


def test_poses_are_drawn_and_written_beside_the_map(tmp_path: Path, capsys: Captured) -> None:
    folder, out = tmp_path / "poses", tmp_path / "maps"
    folder.mkdir()
    (folder / "one.json").write_text(json.dumps(document()), "utf-8-sig")
    assert cli.main(["detect", "openpose_json", str(folder), "--out", str(out)]) == 0
    assert visible(out) == ["one.json", "one.png"]
    pose = pose_of(document())
    assert Image.open(out / "one.png").tobytes() == draw(pose, (200, 400)).tobytes()
    assert pose_of(json.loads((out / "one.json").read_text())) == pose
    capsys.readouterr()


def test_ctrl_c_leaves_whole_files_only(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    out, written, before = tmp_path / "maps", [], Image.Image.save

    def save(image: Image.Image, stream: Any, **options: Any) -> None:
        written.append(stream.write(b"\x89PNG"))
        if len(written) == 2:
            raise KeyboardInterrupt
        stream.seek(0)
        before(image, stream, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    assert cli.main(["detect", "invert", str(photos), "--out", str(out)]) == 130
    assert [path.name for path in out.iterdir()] == ["[x].png"]
    with Image.open(out / "[x].png") as whole:
        assert whole.size == (40, 24)
    assert capsys.readouterr().err.endswith("ctrlgen: interrupted\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["cany", "PHOTOS"], "$.preprocessor: unknown value 'cany' (nearest: canny"),
        (["canny", "missing.png"], "missing.png: no such file"),
        (["canny", "PHOTOS", "--set", "sigma=1"], "$.params.sigma: unknown parameter"),
        (["canny", "PHOTOS", "--set", "low_threshold"], "--set takes NAME=VALUE"),
        (["openpose_json", "PHOTOS"], "no .json in this folder"),
        (["canny", "PHOTOS", "--out", "PHOTOS"], "is one of the pictures"),
    ],
)
def test_mistakes_are_one_line(change: list[str], words: str, photos: Path, capsys: Captured) -> None:
    arguments = [str(photos) if each == "PHOTOS" else each for each in change]
    out = [] if "--out" in change else ["--out", str(photos.parent / "maps")]
    assert words in fails(["detect", *arguments, *out], capsys)
