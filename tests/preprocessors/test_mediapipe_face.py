"""Outlines of faces: what is drawn of a mesh, and the worker process that finds it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.isolated import running
from lib_ctrlgen.preprocessors.isolated.environment import MEDIAPIPE, Environment
from lib_ctrlgen.preprocessors.isolated.worker import Worker
from lib_ctrlgen.preprocessors.mediapipe_face import LINES, drawn, faces_of
from tests.support.drawn_face import PUPILS, drawn_face
from tests.support.fake_worker import FACES, FAKE_MESH, environment, worker

FACE = (10, 200, 10)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that finds faces of a known shape, in mediapipe's place."""
    text = FACES.replace("import fake_mesh", FAKE_MESH).replace("fake_mesh.", "")
    made = worker(tmp_path, text)

    def worker_of(needed: Environment, _store: Any) -> Worker:
        assert needed is MEDIAPIPE
        return made

    monkeypatch.setattr("lib_ctrlgen.preprocessors.mediapipe_face.worker_of", worker_of)
    yield made
    made.stop()


def on_circle(point: int, radius: float) -> tuple[float, float]:
    angle = point / 478 * 2 * np.pi
    return 0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)


def test_a_face_is_drawn_from_its_points(fake: Worker) -> None:
    made = preprocessor("mediapipe_face")
    image = Image.new("RGB", (200, 160), "white")
    found = np.asarray(made(image))
    assert found.shape == (160, 200, 3)
    assert {tuple(each) for each in found.reshape(-1, 3).tolist()} == {
        (0, 0, 0),
        *(colour for _, colour in LINES),
        (250, 200, 10),
        (10, 200, 250),
    }
    x, y = on_circle(468, 0.3)
    assert found[int(y * 160), int(x * 200)].tolist() == [250, 200, 10], "the right pupil"
    assert np.array_equal(found, np.asarray(made(image, max_faces=1, min_face_confidence=0.5)))
    assert fake.pid is not None
    # The second face is larger than the picture, so that nothing is drawn of points outside of it.
    both = np.asarray(made(image, max_faces=2))
    assert (both != found).any()
    assert made(Image.new("RGB", (1, 1)), max_faces=3).size == (1, 1)


def test_small_faces_are_not_drawn() -> None:
    face = np.array([on_circle(point, 0.3) for point in range(478)], np.float32)
    assert not np.asarray(drawn(face[None], (300, 104))).any(), "62 pixels high"
    assert np.asarray(drawn(face[None], (300, 108))).any()
    assert not np.asarray(drawn(np.zeros((0, 478, 2), np.float32), (300, 300))).any()


def test_lines_join_points_that_are_inside() -> None:
    face = np.full((1, 478, 2), 2, np.float32)
    face[0, 10], face[0, 338], face[0, 0] = (0.1, 0.5), (0.9, 0.5), (0.2, 0.1)
    found = np.asarray(drawn(face, (200, 200)))
    rows, columns = np.nonzero(found.any(axis=2))
    assert found[100, 100].tolist() == list(FACE)
    assert (columns.min(), columns.max()) == pytest.approx((20, 180), abs=1)
    assert set(rows) <= {99, 100, 101}, "the line's other points are outside"


def test_an_answer_of_another_size_is_an_error() -> None:
    for header, data in (({"faces": 2}, bytes(478 * 8)), ({"faces": 1}, bytes(7)), ({}, b"")):
        with pytest.raises(ModelError, match=r"mediapipe: .* faces in \d+ bytes"):
            faces_of(header, data)


def test_the_store_keeps_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore([tmp_path], 1 << 30)
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path))
    made = environment(tmp_path)
    (made.folder / "bin").mkdir(parents=True)
    (made.folder / "Scripts").mkdir()
    for name in ("installed.json", "bin/python", "Scripts/python.exe"):
        (made.folder / name).touch()
    assert running.worker_of(made, store) is running.worker_of(made, store)
    assert running.worker_of(made, None) is not running.worker_of(made, None)
    with pytest.raises(ModelError, match=r"if it does not start again, remove .*fake-.* and run .*install"):
        running.worker_of(made, store).call({})


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of MediaPipe, if the user who runs the tests has it."""
    outer = os.environ["CTRLGEN_OUTER_CACHE"]
    monkeypatch.setenv("CTRLGEN_CACHE", outer) if outer else monkeypatch.delenv("CTRLGEN_CACHE")
    if not MEDIAPIPE.is_installed:
        pytest.skip("the environment of mediapipe is missing: ctrlgen preprocessors install mediapipe --yes")


@pytest.mark.usefixtures("installed")
def test_mediapipe_finds_a_drawn_face(tmp_path: Path) -> None:
    """MediaPipe itself, whose networks are in its package."""
    made = preprocessor("mediapipe_face").with_store(ModelStore([tmp_path], 1 << 30))
    found = np.asarray(made(drawn_face()))
    for colour, place in (((250, 200, 10), PUPILS[0]), ((10, 200, 250), PUPILS[1])):
        rows, columns = np.nonzero((found == colour).all(axis=2))
        assert (columns.mean(), rows.mean()) == pytest.approx(place, abs=6)
    rows, columns = np.nonzero((found == FACE).all(axis=2))
    assert (columns.min(), columns.max(), rows.max()) == pytest.approx((156, 356, 400), abs=20)
    two = Image.new("RGB", (1024, 512))
    two.paste(drawn_face())
    two.paste(drawn_face(), (512, 0))
    halves = [np.asarray(made(two, max_faces=number)).any(axis=2) for number in (1, 2)]
    sides = [(half[:, :512].any(), half[:, 512:].any()) for half in halves]
    assert sides[0] != (True, True) == sides[1]
    assert not np.asarray(made(Image.new("RGB", (512, 512), "grey"))).any()
