"""`ctrlgen face` saves a face's embedding as safetensors."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file

from lib_ctrlgen.cli import main as cli
from tests.support.command_line import Captured, fails
from tests.support.face_networks import (
    FakePackage,
    FakeRuntime,
    face_picture,
    install_package,
    write_pack,
)


@pytest.fixture
def picture(runtime: FakeRuntime, tmp_path: Path) -> Path:
    write_pack(tmp_path / "models" / "antelopev2", "antelopev2")
    path = tmp_path / "two faces.png"
    face_picture((480, 160), (80, 320)).save(path)
    return path


def face(picture: Path, *more: str) -> list[str]:
    models = ["--models", str(picture.parent / "models"), "--pack", "antelopev2"]
    return ["face", str(picture), "--out", str(picture.parent / "new" / "face.safetensors"), *models, *more]


def test_embeddings_are_written(picture: Path, capsys: Captured) -> None:
    out = picture.parent / "new" / "face.safetensors"
    assert cli.main(face(picture, "--choose", "all")) == 0
    first, second, written = capsys.readouterr().out.splitlines()
    assert first == "face at 56, 296, 104, 344 (left, top, right, bottom), score 0.90"
    assert second.startswith("face at 456, 136,")
    assert written == str(out)
    both = load_file(out)["embedding"]
    assert both.shape == (2, 512)
    assert cli.main(face(picture, "--choose", "2")) == 0
    assert load_file(out)["embedding"].tolist() == both[1:].tolist()
    assert b'"pack":"antelopev2"' in out.read_bytes()


def test_what_insightface_prints_is_no_output(
    picture: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(bbox=(1, 2, 3, 4), kps=np.zeros((5, 2)), embedding=np.ones(512), det_score=0.75)
    install_package(monkeypatch, FakePackage(faces=[found]))
    assert cli.main(face(picture)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("face at 1, 2, 3, 4 (left, top, right, bottom), score 0.75\n/")
    assert err == "find model: det_10g.onnx\n"


def test_mistakes_are_one_line(picture: Path, capsys: Captured) -> None:
    assert "2 faces were found" in fails(face(picture, "--choose", "3"), capsys)
    assert "invalid choice: 'x'" in fails(face(picture, "--pack", "x"), capsys)
    assert "w600k_r50.onnx" in fails(face(picture, "--pack", "buffalo_l"), capsys)
    assert "No such file" in fails(face(picture.parent / "none.png", "--models", str(picture.parent)), capsys)
    grey = picture.parent / "grey.png"
    face_picture().save(grey)
    assert "grey.png: no face was found" in fails(face(grey), capsys)
    assert not (picture.parent / "new").exists()
