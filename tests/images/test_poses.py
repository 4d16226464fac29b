"""Poses: OpenPose JSON in and out, and their drawing."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.control_pictures import control_picture_file, control_picture_hash
from lib_ctrlgen.images.control_pictures import decode_control_picture as decode
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.images.poses.drawing import DrawnParts, draw
from lib_ctrlgen.images.poses.openpose_json import document_of, pose_of, read_pose, write_pose
from lib_ctrlgen.images.poses.pose import Keypoint, Person, Pose
from tests.support.poses import BODY, document, flat
from tests.support.properties import examples

keypoints = st.none() | st.builds(
    Keypoint,
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0, 1, exclude_min=True),
)


def part(count: int) -> Any:
    return st.lists(keypoints, min_size=count, max_size=count).map(tuple)


people = st.builds(
    Person,
    body=st.none() | part(18),
    left_hand=st.none() | part(21),
    right_hand=st.none() | part(21),
    face=st.none() | part(70),
)
poses = st.builds(
    Pose,
    people=st.lists(people, max_size=2).map(tuple),
    animals=st.lists(part(17), max_size=2).map(tuple),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
)


@examples(25)
@given(poses)
def test_a_pose_that_was_written_is_read_again(pose: Pose) -> None:
    assert read_pose(write_pose(pose)) == pose
    assert pose_of(document_of(pose)) == pose
    assert pose.above(0) == pose


def test_keypoints_outside_the_canvas_are_written_in_pixels() -> None:
    pose = pose_of(document([(1500, 30, 1.0), (-200, 90, 0.5)]))
    numbers = document_of(pose)["people"][0]["pose_keypoints_2d"]
    assert numbers[:6] == pytest.approx([1500, 30, 1.0, -200, 90, 0.5])
    assert [p.x for p in pose.keypoints] == pytest.approx([1500 / 200, -1.0])
    again = pose_of(document_of(pose))
    assert [p.x for p in again.keypoints] == pytest.approx([p.x for p in pose.keypoints])


def test_pixels_and_fractions_are_the_same_pose() -> None:
    pixels, fractions = [(50, 100, 1.0), (100, 300, 0.4)], [(0.25, 0.25, 1.0), (0.5, 0.75, 0.4)]
    one, other = pose_of(document(pixels)), pose_of(document(fractions))
    assert one == other
    assert [k.confidence for k in one.keypoints] == [1.0, 0.4], "no keypoint is dropped when it is read"
    assert [k.confidence for k in one.above(0.5).keypoints] == [1.0]


def test_animals_are_read_flat_and_nested() -> None:
    points = [(10 * i, 5, 0.9) for i in range(1, 18)]
    size = {"canvas_width": 200, "canvas_height": 100}
    flat_one = {"animals": [flat(points)], **size}
    nested = {"version": "ap10k", "animals": [[list(p) for p in points]], **size}
    assert pose_of(flat_one) == pose_of(nested)
    assert len(list(pose_of(nested).keypoints)) == 17


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"canvas_width": None}, "$.canvas_width", "whole number of pixels"),
        ({"canvas_height": 1e9}, "$.canvas_height", "from 1 to"),
        ({"people": {}}, "$.people", "expected a list, got an object"),
        ({"people": [3]}, "$.people[0]", "expected a person"),
        ({"people": [{"keypoints": []}]}, "$.people[0]", "has none of pose_keypoints_2d"),
        (
            {"people": [{"pose_keypoints_2d": [0] * 75}]},
            "$.people[0].pose_keypoints_2d",
            "expected 54 numbers",
        ),
        (
            {"people": [{"hand_left_keypoints_2d": ["x"] * 63}]},
            "$.people[0].hand_left_keypoints_2d[0]",
            "number, got 'x'",
        ),
        (
            {"people": [{"pose_keypoints_2d": [9e9, 2, 1] + [0] * 51}]},
            "$.people[0].pose_keypoints_2d[0]",
            "far outside",
        ),
        ({"animals": [[[1, 2]] * 17]}, "$.animals[0][0]", "x, y and confidence"),
    ],
)
def test_a_wrong_document_is_refused_at_its_place(change: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        pose_of(document(BODY) | change)
    assert raised.value.path == path


def test_other_documents_are_no_poses() -> None:
    for text, words in (("[]", "got a list"), ('{"persons": []}', "nearest: persons"), ("{", "not JSON")):
        with pytest.raises(RequestError, match=words) as raised:
            decode(text, "$.units[0].image")
        assert raised.value.path == "$.units[0].image"


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
)
names = st.sampled_from(
    ["people", "animals", "canvas_width", "canvas_height", "pose_keypoints_2d", "face_keypoints_2d", "x"]
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@examples(60)
@given(anything, st.lists(st.tuples(st.integers(0, 53), anything), max_size=3), names, anything)
def test_any_document_is_a_pose_or_a_request_error(
    whole: Any, points: list[tuple[int, Any]], name: str, value: Any
) -> None:
    numbers = flat(BODY)
    for place, each in points:
        numbers[place] = each
    near = {**document(), "people": [{"pose_keypoints_2d": numbers}], name: value}
    for given_one in (whole, near, {**near, "people": [whole], "animals": [whole, numbers[:51]]}):
        try:
            found: Any = pose_of(given_one, "$.image")
        except RequestError as error:
            found = error
        assert isinstance(found, Pose) or found.path.startswith("$.image")


def test_a_pose_is_read_from_every_form_of_text() -> None:
    text = json.dumps(document(BODY))
    encoded = base64.b64encode(text.encode()).decode()
    forms = (text, f"\n {text}", encoded, f"data:application/json;base64,{encoded}")
    assert len({control_picture_hash(form) for form in forms}) == 1
    assert all(control_picture_file(form, "")[1] == "json" for form in forms)
    with pytest.raises(RequestError, match="only be the picture of a unit"):
        decode_image(encoded, "$.mask")
    moved = document([(11, 20, 1.0), *BODY[1:]])
    assert control_picture_hash(json.dumps(moved)) != control_picture_hash(text)


def test_a_limb_is_an_ellipse_of_its_colour_between_two_joints() -> None:
    """The right upper arm: limb 3-4 is the third, from (40, 50) to (140, 50), half width 4."""
    points = [(0, 0, 0)] * 18
    points[2], points[3] = (40, 50, 1), (140, 50, 1)
    drawn = np.asarray(draw(pose_of(document(points)), (200, 400))).astype(int)
    limb = (drawn == (153, 102, 0)).all(-1)  # 0.6 of (255, 170, 0)
    rows, columns = np.nonzero(limb)
    assert (rows.min(), rows.max()) == (46, 54)
    assert limb[46:55, 90].all()
    assert columns.min() >= 40
    assert columns.max() <= 140
    expected = {
        (x, y) for x in range(200) for y in range(400) if ((x - 90) / 50) ** 2 + ((y - 50) / 4) ** 2 < 1
    }
    joints = {(x, y) for x, y in expected if min(abs(x - 40), abs(x - 140)) <= 4}
    found = set(zip(columns.tolist(), rows.tolist(), strict=True))
    assert len(expected - joints - found) < 0.05 * len(expected)
    assert tuple(drawn[50, 40]) == (255, 170, 0)
    assert tuple(drawn[50, 140]) == (255, 255, 0)
    assert tuple(drawn[54, 40]) == (255, 170, 0), "a joint is a disc of radius 4"
    assert not drawn[55, 40].any()
    others = set(map(tuple, drawn.reshape(-1, 3).tolist()))
    assert others == {(0, 0, 0), (153, 102, 0), (255, 170, 0), (255, 255, 0)}


def test_hands_faces_and_animals_have_their_colours() -> None:
    hand, face, animal = ([Keypoint(0.0, 0.0)] * count for count in (21, 70, 17))
    hand[0], hand[1], face[5] = Keypoint(0.25, 0.25), Keypoint(0.75, 0.25), Keypoint(0.5, 0.5)
    animal[0], animal[1] = Keypoint(0.1, 0.9), Keypoint(0.9, 0.9)
    person = Person(left_hand=tuple(hand), face=tuple(face))
    pose = Pose(people=(person,), animals=(tuple(animal[:2] + [None] * 15),), width=64, height=64)
    drawn = np.asarray(draw(pose, (200, 200)))
    assert tuple(drawn[50, 100]) == (255, 0, 0), "the first edge of a hand is HSV (0, 1, 1)"
    assert tuple(drawn[50, 50]) == (0, 0, 255)
    assert tuple(drawn[100, 100]) == tuple(drawn[180, 100]) == (255, 255, 255)
    assert not drawn[0, 0].any(), "keypoints of hands and faces at the edge are left out"
    hidden = np.asarray(draw(pose, (200, 200), DrawnParts(hands=False, face=False)))
    assert not hidden[:150].any()


@examples(15)
@given(poses.filter(lambda pose: any(pose.keypoints)), st.tuples(st.integers(8, 80), st.integers(8, 80)))
def test_every_pose_can_be_drawn_at_every_size(pose: Pose, size: tuple[int, int]) -> None:
    assert draw(pose, size).size == size
