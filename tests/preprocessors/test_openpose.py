"""OpenPose's detectors: files of weights with known heat maps, through to the pose and its drawing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import document_of, pose_of
from lib_ctrlgen.images.poses.pose import Person, Points, Pose
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from tests.support.fake_detectors import forget_package, write_package
from tests.support.fake_openpose import DETAIL, FILES, detail_cell, write_openpose
from tests.support.poses import BODY

NAMES = ("openpose", "openpose_face", "openpose_faceonly", "openpose_hand", "openpose_full")
SIDE = 240
BLUE, RED = (Image.new("RGB", (SIDE, SIDE), colour) for colour in ((20, 40, 230), (230, 40, 20)))
# Two people beside each other, as shares of the picture; the right one has no right arm and no left ear.
LEFT = {joint: (x / 400 + 0.02, y / 400 + 0.03) for joint, (x, y, _) in enumerate(BODY)}
RIGHT = {joint: (x + 0.46, y + 0.02) for joint, (x, y) in LEFT.items() if joint not in (3, 4, 17)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store with the weights of a picture of two people, beside the small package."""
    write_package(tmp_path, FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    write_openpose(tmp_path / "models", [LEFT, RIGHT], missing=(3,))
    yield ModelStore([tmp_path / "models"], 1 << 30)
    forget_package()


def found(name: str, store: ModelStore, image: Image.Image = BLUE, **params: Any) -> Pose:
    detector: Any = preprocessor(name).with_store(store)
    pose: Pose = detector.pose(image, **params)
    return pose


def places(points: Points | None, size: tuple[int, int] = BLUE.size) -> dict[int, tuple[float, float]]:
    assert points is not None
    assert {point.confidence for point in points if point} == {1.0}
    return {number: (point.x * size[0], point.y * size[1]) for number, point in enumerate(points) if point}


def test_every_joint_is_where_its_heat_map_is_highest(store: ModelStore) -> None:
    pose = found("openpose", store)
    assert pose.size == BLUE.size
    assert pose_of(document_of(pose)) == pose
    drawing = preprocessor("openpose").with_store(store)(BLUE)
    assert drawing.tobytes() == draw(pose, BLUE.size).tobytes()
    for person, wanted in zip(sorted(pose.people, key=first_x), (LEFT, RIGHT), strict=True):
        joints = places(person.body)
        assert joints.keys() == wanted.keys()
        for joint, place in joints.items():
            # within half a cell of the network's grid, which is 10 pixels of this picture
            assert place == pytest.approx([SIDE * share for share in wanted[joint]], abs=3)


def first_x(person: Person) -> float:
    return min(point.x for point in person.body or () if point)


def test_a_joint_below_the_threshold_is_left_out(store: ModelStore) -> None:
    assert len(found("openpose", store, min_confidence=0.3).people) == 2
    assert found("openpose", store, min_confidence=1.0) == Pose(width=SIDE, height=SIDE)


def test_a_picture_without_people_gives_an_empty_pose(store: ModelStore) -> None:
    for name in NAMES:
        assert found(name, store, RED) == Pose(width=SIDE, height=SIDE)
        assert preprocessor(name).with_store(store)(RED).getcolors() == [(SIDE * SIDE, (0, 0, 0))]


def test_the_name_says_what_the_pose_has(store: ModelStore) -> None:
    full = found("openpose_full", store)
    left, right = sorted(full.people, key=first_x)
    assert (right.right_hand is None, left.right_hand is None) == (True, False)
    for name in NAMES[:-1]:
        hands, faces = name == "openpose_hand", "_face" in name
        wanted = [
            Person(
                body=None if name == "openpose_faceonly" else each.body,
                left_hand=each.left_hand if hands else None,
                right_hand=each.right_hand if hands else None,
                face=each.face if faces else None,
            )
            for each in full.people
        ]
        assert list(found(name, store).people) == wanted


def test_keypoints_of_hands_and_faces_keep_their_numbers(store: ModelStore) -> None:
    left = min(found("openpose_full", store).people, key=first_x)
    assert left.face is not None
    assert left.left_hand is not None
    assert (len(left.face), len(left.left_hand)) == (70, 21)
    shoulder, elbow, wrist = (np.array(places(left.body)[joint]) for joint in (5, 6, 7))
    side = 1.5 * max(np.hypot(*(wrist - elbow)), 0.9 * np.hypot(*(elbow - shoulder)))
    corner = wrist + 0.33 * (wrist - elbow) - side / 2
    compare(left.left_hand, corner, side)
    nose, eye, ear = (np.array(places(left.body)[joint]) for joint in (0, 14, 16))
    half = max(3 * np.abs(nose - eye).max(), 1.5 * np.abs(nose - ear).max())
    compare(left.face, nose - half, 2 * half)


def compare(points: Points, corner: np.ndarray, side: float) -> None:
    """Whether the keypoints are at their cells of a square, of which number 3 was not found."""
    seen = places(points)
    assert seen.keys() == set(range(len(points))) - {3}
    for number, place in seen.items():
        row, column = detail_cell(number)
        wanted = corner + side * (np.array([column, row]) + 0.5) / DETAIL
        assert place == pytest.approx(wanted.tolist(), abs=side / DETAIL / 2)


def test_faces_and_hands_below_their_own_threshold_are_left_out(store: ModelStore) -> None:
    pose = found("openpose_full", store, min_detail_confidence=1.0)
    assert all(person.body and not person.face and not person.left_hand for person in pose.people)


def test_a_networks_file_is_needed_only_where_it_is_used(store: ModelStore) -> None:
    (store.roots[0] / "facenet.pth").unlink()
    assert found("openpose_hand", store).people
    for name in ("openpose_face", "openpose_faceonly", "openpose_full"):
        with pytest.raises(ModelError, match=r"the weights facenet\.pth .* are missing: put the file into"):
            found(name, store, RED)


def test_another_networks_file_is_refused(store: ModelStore) -> None:
    folder = store.roots[0]
    (folder / "facenet.pth").write_bytes((folder / "hand_pose_model.pth").read_bytes())
    with pytest.raises(ModelError, match=r"facenet\.pth.*has shape \(22, 512, 1, 1\), expected \(71,"):
        found("openpose_face", store)
    (folder / "facenet.pth").write_bytes((folder / "body_pose_model.pth").read_bytes())
    with pytest.raises(ModelError, match=r"facenet\.pth.*missing model1_1\.conv6_2_CPM\.weight"):
        found("openpose_face", store)
