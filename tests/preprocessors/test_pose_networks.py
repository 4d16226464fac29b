"""DWPose and RTMPose for animals: from a picture to the keypoints, with networks that see colours."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import document_of, pose_of
from lib_ctrlgen.images.poses.pose import Points, Pose
from lib_ctrlgen.models.onnx import OnnxNetwork
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.detection import WHOLE as WHOLE_FRAME
from lib_ctrlgen.preprocessors.detection import found_by
from lib_ctrlgen.preprocessors.poses.whole_body import person_of
from lib_ctrlgen.preprocessors.poses.yolox import found_boxes
from tests.support.fake_pose_networks import (
    ANIMAL,
    BLUE,
    DETECTOR,
    RED,
    WHOLE_BODY,
    FakeRuntime,
    boxed_row,
    scene,
    table,
)

BOX, MARK = (120, 60, 220, 360), (180, 190)  # a standing figure, and the middle of its keypoints
WHOLE, ANIMALS = "dw_openpose_full", "animal_openpose"


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    monkeypatch.setitem(sys.modules, "onnxruntime", fake.module())
    return fake


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for name in (DETECTOR, WHOLE_BODY, ANIMAL):
        (tmp_path / name).write_bytes(b"onnx")
    return ModelStore([tmp_path], 1 << 20)


def found(name: str, store: ModelStore, image: Image.Image, **params: Any) -> Pose:
    detector: Any = preprocessor(name).with_store(store)
    pose: Pose = detector.pose(image, **params)
    assert detector(image, **params).tobytes() == draw(pose, image.size).tobytes()
    assert pose_of(document_of(pose)) == pose
    return pose


def scale_of(sides: tuple[int, int]) -> float:
    """Pixels of the picture for one of the input's, which shows the box with its margin."""
    width, height = 1.25 * (BOX[2] - BOX[0]), 1.25 * (BOX[3] - BOX[1])
    return max(width / sides[0], height / sides[1])


def compare(points: Points | None, numbers: list[int], scale: float, image: Image.Image) -> None:
    """Whether the keypoints are those of the network with these numbers, to a pixel."""
    assert points is not None
    for point, number in zip(points, numbers, strict=True):
        wanted = np.array(MARK) + scale * table(number)
        assert point is not None
        assert (point.x * image.width, point.y * image.height) == pytest.approx(wanted.tolist(), abs=1.6)


@pytest.mark.usefixtures("networks")
def test_the_keypoints_of_a_person(store: ModelStore) -> None:
    image = scene(RED, BOX, MARK)
    (person,) = found(WHOLE, store, image).people
    scale = scale_of((288, 384))
    assert person.body is not None
    assert person.face is not None
    body = [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    compare(person.body[:1] + person.body[2:], body, scale, image)
    compare(person.face, [*range(23, 91), 2, 1], scale, image)
    compare(person.left_hand, list(range(91, 112)), scale, image)
    compare(person.right_hand, list(range(112, 133)), scale, image)


@pytest.mark.usefixtures("networks")
def test_the_keypoints_of_an_animal(store: ModelStore) -> None:
    image = scene(BLUE, BOX, MARK)
    pose = found(ANIMALS, store, image)
    assert pose.people == ()
    compare(pose.animals[0], list(range(17)), scale_of((256, 256)), image)


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize(("name", "colour"), [(WHOLE, BLUE), (WHOLE, None), (ANIMALS, RED), (ANIMALS, None)])
def test_nobody_gives_an_empty_pose(
    name: str, colour: tuple[int, int, int] | None, store: ModelStore
) -> None:
    image = scene(colour, BOX, MARK)
    assert found(name, store, image) == Pose(width=500, height=400)


def test_the_thresholds(store: ModelStore, networks: FakeRuntime) -> None:
    networks.hidden = (0, 6, 91)
    image = scene(RED, BOX, MARK)
    (person,) = found(WHOLE, store, image).people
    assert person.body is not None
    assert [number for number, point in enumerate(person.body) if point is None] == [0, 1, 2], "nose, neck"
    assert person.left_hand is not None
    assert person.left_hand[0] is None
    (whole,) = found(WHOLE, store, image, min_confidence=0.2).people
    assert whole.body is not None
    assert None not in whole.body
    assert found(WHOLE, store, image, min_confidence=0.96).people == ()
    assert found(WHOLE, store, image, min_box_confidence=0.85).people == ()
    networks.confidence = 0.2
    dog = scene(BLUE, BOX, MARK)
    assert found(ANIMALS, store, dog).animals == ()
    assert len(found(ANIMALS, store, dog, min_box_confidence=0.1).animals) == 1


@pytest.mark.usefixtures("networks")
def test_limbs_are_as_wide_at_every_resolution(store: ModelStore) -> None:
    image = scene(RED, BOX, MARK)
    chosen = preprocessor(WHOLE).with_store(store)
    fine = found_by(chosen, image, WHOLE_FRAME, image.size, {"resolution": 0})
    coarse = found_by(chosen, image, WHOLE_FRAME, image.size, {"resolution": 320})
    assert coarse.pose is not None
    assert coarse.pose.size == image.size
    assert coarse.map.tobytes() == draw(coarse.pose, image.size).tobytes()
    lit = [(np.asarray(each.map).max(2) > 0).sum() for each in (fine, coarse)]
    assert lit[1] == pytest.approx(lit[0], rel=0.03)


def test_the_files_are_opened_once(store: ModelStore, networks: FakeRuntime) -> None:
    for _ in range(2):
        found(WHOLE, store, scene(RED, BOX, MARK))
        found(ANIMALS, store, scene(BLUE, BOX, MARK))
    assert sorted(networks.opened) == sorted([DETECTOR, WHOLE_BODY, ANIMAL])


def test_the_parts_of_133_keypoints() -> None:
    places = np.stack((np.arange(133), 2 * np.arange(133)), axis=1).astype(np.float32)
    person = person_of(places, np.full(133, 0.5, np.float32), 0.5, (1, 1))
    assert person.body is not None
    assert (person.body[1] and person.body[1].x) == 5.5, "the neck is between the shoulders 5 and 6"
    assert all(point is not None and point.y == 2 * point.x for point in person.body)
    nothing = person_of(places, np.zeros(133, np.float32), 0.0, (1, 1))
    assert (nothing.body, nothing.face, nothing.left_hand) == (None, None, None)


def test_boxes_of_all_grids_without_overlaps() -> None:
    given = [
        ((100, 50, 180, 210), 0, 0.5, 8),
        ((104, 54, 184, 214), 0, 0.9, 16),
        ((300, 300, 500, 620), 0, 0.7, 32),
        ((104, 54, 184, 214), 15, 0.95, 32),
    ]
    output = np.zeros((1, 8400, 85), np.float32)
    for box, number, certain, stride in given:
        row, values = boxed_row(box, number, certain, stride)
        output[0, row] = values
    session: Any = FakeRuntime(outputs={DETECTOR: [output]}).session(DETECTOR, None, None)
    network = OnnxNetwork(cpu_bytes=0, session=session, name=DETECTOR)
    pixels = np.zeros((320, 240, 3), np.uint8)  # half of the input's size
    people = found_boxes(network, pixels, (0,), 0.3)
    np.testing.assert_allclose(people, np.array([given[1][0], given[2][0]]) / 2, atol=1e-3)
    others = found_boxes(network, pixels, (15, 16), 0.3)
    np.testing.assert_allclose(others, np.array([given[3][0]]) / 2, atol=1e-3)
    assert found_boxes(network, pixels, (7,), 0.3).shape == (0, 4)


def test_other_networks_in_the_files_are_errors(store: ModelStore, networks: FakeRuntime) -> None:
    image = scene(RED, BOX, MARK)
    networks.outputs[DETECTOR] = [np.zeros((1, 100, 6), np.float32)]
    with pytest.raises(ModelError, match=r"yolox_l\.onnx is not a YOLOX detector .*\(1, 100, 6\)"):
        found(WHOLE, store, image)
    del networks.outputs[DETECTOR]
    networks.outputs[WHOLE_BODY] = [np.zeros((1, 17, 64), np.float32)]
    with pytest.raises(ModelError, match="is not RTMPose with 133 keypoints"):
        found(WHOLE, store, image)


@pytest.mark.parametrize("name", [WHOLE, ANIMALS])
def test_without_onnxruntime_the_error_says_how_to_install_it(
    name: str, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match=r"needs the package onnxruntime, which .* -m pip install --no-deps onnxruntime"
    ):
        found(name, store, scene(RED, BOX, MARK))


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize("name", [WHOLE, ANIMALS])
def test_without_weights_the_error_names_the_file(name: str, store: ModelStore, tmp_path: Path) -> None:
    missing = WHOLE_BODY if name == WHOLE else ANIMAL
    (tmp_path / missing).unlink()
    with pytest.raises(ModelError, match=rf"the weights {missing} .* are missing: put the file into"):
        found(name, store, scene(None, BOX, MARK))
