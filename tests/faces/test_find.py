"""Faces are found with insightface, or with its models alone; what is missing is named."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.faces.align import norm_crop
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.models.sizes import sizes_by_memory
from lib_ctrlgen.models.store import ModelStore
from tests.support.face_networks import (
    OFFSETS,
    PROJECTION,
    FakePackage,
    FakeRuntime,
    face_picture,
    install_package,
    write_pack,
)

LEFT, RIGHT = (80, 320), (480, 160)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder ControlNet of a WebUI's models, with a pack in the folder beside it."""
    write_pack(tmp_path / "models" / "insightface" / "models" / "buffalo_l")
    return tmp_path / "models" / "ControlNet"


def test_faces_come_from_left_to_right_with_points_and_embeddings(runtime: FakeRuntime, models: Path) -> None:
    picture = face_picture(RIGHT, LEFT)
    left, right = find_faces(picture, "buffalo_l", [models])
    assert left.box == (80 - 24, 320 - 24, 80 + 24, 320 + 24)
    np.testing.assert_allclose(right.points, np.array(RIGHT) + 8 * np.array(OFFSETS), atol=1e-4)
    assert left.score == pytest.approx(0.9)
    for face in (left, right):
        crop = np.asarray(norm_crop(picture, face.points, 112), np.float32)
        pooled = ((crop - 127.5) / 127.5).reshape(14, 8, 14, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
        np.testing.assert_allclose(face.embedding, pooled.reshape(-1) @ PROJECTION, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(left.embedding) != pytest.approx(1, abs=0.1)
    assert np.linalg.norm(left.normed_embedding) == pytest.approx(1)
    assert runtime.opened == ["det_10g.onnx", "w600k_r50.onnx"]
    assert set(runtime.providers) == {"CPUExecutionProvider"}


def test_smaller_sizes_are_tried_until_a_face_is_found(runtime: FakeRuntime, models: Path) -> None:
    runtime.largest = 320
    (face,) = find_faces(face_picture((160, 80), size=(320, 320)), "buffalo_l", [models])
    assert [width for width, _ in runtime.sizes] == [640, 576, 512, 448, 384, 320]
    assert face.box[0] < 160 < face.box[2]
    runtime.largest = 10
    assert find_faces(face_picture(LEFT), "buffalo_l", [models]) == ()


def test_a_detector_of_one_size_is_asked_at_that_size(runtime: FakeRuntime, models: Path) -> None:
    runtime.shape = (480, 640)
    assert find_faces(Image.new("RGB", (640, 480)), "buffalo_l", [models]) == ()
    assert runtime.sizes == [(640, 480)]


@pytest.mark.parametrize(
    "place",
    ["home/.insightface/models/antelopev2", "a/antelopev2", "a/models/antelopev2/antelopev2",
     "a/insightface/antelopev2", "insightface/models/antelopev2/antelopev2",
     "annotator/downloads/insightface/models/antelopev2"],
)  # fmt: skip
def test_where_a_pack_is_found(runtime: FakeRuntime, tmp_path: Path, place: str) -> None:
    write_pack(tmp_path / place, "antelopev2")
    assert len(find_faces(face_picture(LEFT), "antelopev2", [tmp_path / "b", tmp_path / "a"])) == 1
    assert runtime.opened == ["scrfd_10g_bnkps.onnx", "glintr100.onnx"]


def test_missing_files_are_named_with_the_folders(runtime: FakeRuntime, models: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"antelopev2 is missing \(scrfd_10g_bnkps.onnx and glintr100"
    ) as found:
        find_faces(face_picture(LEFT), "antelopev2", [models])
    for folder in (tmp_path / "home" / ".insightface", models.parent / "insightface"):
        assert str(folder) in str(found.value)
    assert "embedding can be given" in str(found.value)
    pack = models.parent / "insightface" / "models" / "buffalo_l"
    (pack / "w600k_r50.onnx").unlink()
    with pytest.raises(
        ModelError, match=r"w600k_r50.onnx of the model pack buffalo_l is missing in .*insight"
    ):
        find_faces(face_picture(LEFT), "buffalo_l", [models])
    with pytest.raises(RequestError, match="'buffalo_m'; there are buffalo_l and antelopev2"):
        find_faces(face_picture(LEFT), "buffalo_m", [models])


def test_without_a_package_the_error_says_what_to_install(
    runtime: FakeRuntime, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"not installed.*pip install --no-deps onnxruntime.*embedding"):
        find_faces(face_picture(LEFT), "buffalo_l", [models])


def test_broken_and_other_files_are_named(runtime: FakeRuntime, models: Path) -> None:
    runtime.damaged = ("w600k_r50.onnx",)
    with pytest.raises(ModelError, match=r"w600k_r50.onnx: cannot be read.*INVALID_PROTOBUF\)$"):
        find_faces(face_picture(LEFT), "buffalo_l", [models])
    runtime.damaged, runtime.outputs = (), 6
    with pytest.raises(ModelError, match=r"det_10g.onnx is not a face detector"):
        find_faces(face_picture(LEFT), "buffalo_l", [models])


def test_a_store_keeps_models_and_faces(runtime: FakeRuntime, models: Path) -> None:
    store = ModelStore([models], 1 << 30)
    first = find_faces(face_picture(LEFT), "buffalo_l", store.roots, store)
    assert find_faces(face_picture(LEFT).convert("RGBA"), "buffalo_l", store.roots, store) == first
    assert len(runtime.sizes) == 1
    find_faces(face_picture(RIGHT), "buffalo_l", store.roots, store)
    assert (len(runtime.sizes), len(runtime.opened)) == (2, 2)
    assert store.used_bytes == 8, "the size of both files"
    small = ModelStore([models], 7)
    find_faces(face_picture(LEFT), "buffalo_l", small.roots, small)
    assert small.used_bytes == 0, "what exceeds the budget is given back"


def found_by_package(left: float) -> Any:
    points, numbers = np.arange(10.0).reshape(5, 2), np.arange(512, dtype=np.float32)
    return SimpleNamespace(bbox=np.array([left, 1, 9, 9]), kps=points, embedding=numbers, det_score=0.7)


def test_insightface_is_used_where_it_is_installed(
    runtime: FakeRuntime, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = FakePackage(faces=[found_by_package(5), found_by_package(1)], largest=512)
    install_package(monkeypatch, package)
    picture = face_picture(LEFT)
    left, right = find_faces(picture, "buffalo_l", [models])
    assert (left.box, right.box) == ((1, 1, 9, 9), (5, 1, 9, 9))
    assert (left.points[1], left.embedding[511], left.score) == ((2, 3), 511, 0.7)
    (options,) = package.loaded
    assert (options["name"], options["root"]) == ("buffalo_l", str(models.parent / "insightface"))
    assert package.sizes == [(640, 640), (576, 576), (512, 512)]
    assert np.array_equal(package.seen[0][..., ::-1], np.asarray(picture))
    assert runtime.opened == []
    package.faces = []
    assert find_faces(picture, "buffalo_l", [models]) == ()
    write_pack(models / "antelopev2" / "antelopev2", "antelopev2")  # where insightface does not look
    assert len(find_faces(picture, "antelopev2", [models])) == 1
    assert runtime.opened == ["scrfd_10g_bnkps.onnx", "glintr100.onnx"]


def test_an_insightface_that_cannot_be_imported_is_reported(
    runtime: FakeRuntime, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def import_module(name: str) -> Any:
        raise TypeError("Descriptors cannot be created directly.\nmore")

    monkeypatch.setattr("lib_ctrlgen.faces.finders.import_module", import_module)
    with caplog.at_level(logging.WARNING, "ctrlgen"):
        assert len(find_faces(face_picture(LEFT), "buffalo_l", [models])) == 1
    assert "insightface is installed, and cannot be imported: Descriptors" in caplog.text


def test_a_finders_memory_is_that_of_its_files() -> None:
    from lib_ctrlgen.faces.finders import OnnxFinder
    from lib_ctrlgen.models.onnx import OnnxNetwork

    one, other = (OnnxNetwork(cpu_bytes=size, session=None, name="") for size in (3, 4))  # type: ignore[arg-type]
    assert sizes_by_memory(OnnxFinder(detector=one, recogniser=other)) == {"cpu": 7}
