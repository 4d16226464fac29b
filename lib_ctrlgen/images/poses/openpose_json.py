"""Reads and writes poses in OpenPose JSON, as sd-webui-controlnet and ComfyUI write it.

    {"people": [{"pose_keypoints_2d": [x, y, c, ...], "face_keypoints_2d": null, ...}], "animals": [[...]],
     "canvas_width": 512, "canvas_height": 768}

A part is a list of x, y and confidence of each keypoint. A missing keypoint has confidence 0.
x and y are pixels of the canvas, or fractions of it where all of a part are from -1 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from lib_ctrlgen.errors import RequestError, nearest

from .pose import ANIMAL, BODY, FACE, HAND, Keypoint, Person, Points, Pose

PARTS: Mapping[str, tuple[str, int]] = {
    "pose_keypoints_2d": ("body", BODY),
    "hand_left_keypoints_2d": ("left_hand", HAND),
    "hand_right_keypoints_2d": ("right_hand", HAND),
    "face_keypoints_2d": ("face", FACE),
}
MOST = 256  # people, and animals
LARGEST_SIDE = 16384
FARTHEST = 10.0  # canvases; a keypoint beyond is a mistake
LARGEST = 1e12  # of any number in a document
MISSING = (0.0, 0.0, 0.0)


def read_pose(data: bytes | str, path: str = "$") -> Pose:
    """The pose in a JSON text. Raises RequestError below `path`, the path of the document in a request."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError(path, f"not JSON: {error}") from error
    return pose_of(document, path)


def pose_of(document: Any, path: str = "$") -> Pose:
    """The pose in a document of JSON types. Raises RequestError below `path`."""
    if not isinstance(document, dict):
        raise RequestError(path, f"expected one pose, an object with 'people', got {_kind(document)}")
    if not ("people" in document or "animals" in document):
        message = (
            f"has neither 'people' nor 'animals', so it is no OpenPose JSON ({nearest('people', document)})"
        )
        raise RequestError(path, message)
    size = _side(document, "canvas_width", path), _side(document, "canvas_height", path)
    people = _items(document, "people", path)
    animals = _items(document, "animals", path)
    return Pose(
        people=tuple(_person(each, size, f"{path}.people[{i}]") for i, each in enumerate(people)),
        animals=tuple(_animal(each, size, f"{path}.animals[{i}]") for i, each in enumerate(animals)),
        width=size[0],
        height=size[1],
    )


def document_of(pose: Pose) -> dict[str, Any]:
    """The pose as JSON types, from which `pose_of` makes an equal pose.

    A part is written in fractions of the canvas, or in pixels if a keypoint is outside of -1..1.
    """
    people = [
        {name: _numbers(getattr(person, part), pose.size) for name, (part, _) in PARTS.items()}
        for person in pose.people
    ]
    found: dict[str, Any] = {"people": people}
    if pose.animals:
        found["animals"] = [_numbers(animal, pose.size) for animal in pose.animals]
    return {**found, "canvas_width": pose.width, "canvas_height": pose.height}


def write_pose(pose: Pose) -> str:
    """The pose as a JSON text."""
    return json.dumps(document_of(pose), separators=(",", ":"))


def _items(document: Mapping[str, Any], name: str, path: str) -> Sequence[Any]:
    found = document.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise RequestError(f"{path}.{name}", f"expected a list, got {_kind(found)}")
    if len(found) > MOST:
        raise RequestError(f"{path}.{name}", f"{len(found)} are more than {MOST}")
    return found


def _side(document: Mapping[str, Any], name: str, path: str) -> int:
    if name not in document:
        raise RequestError(f"{path}.{name}", "is required: the size of the picture that the keypoints are in")
    value = document[name]
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or not 1 <= value <= LARGEST_SIDE:
        message = f"expected a whole number of pixels from 1 to {LARGEST_SIDE}, got {_shown(value)}"
        raise RequestError(f"{path}.{name}", message)
    return int(value)


def _person(value: Any, size: tuple[int, int], path: str) -> Person:
    if not isinstance(value, dict):
        raise RequestError(path, f"expected a person, an object with 'pose_keypoints_2d', got {_kind(value)}")
    if PARTS.keys().isdisjoint(value):
        raise RequestError(path, f"has none of {', '.join(PARTS)} ({nearest('pose_keypoints_2d', value)})")
    parts = {
        part: _points(value[name], count, size, f"{path}.{name}")
        for name, (part, count) in PARTS.items()
        if value.get(name) not in (None, [])
    }
    return Person(**parts)


def _animal(value: Any, size: tuple[int, int], path: str) -> Points:
    """An animal's keypoints: one flat list, or as ComfyUI writes it, a list of [x, y, confidence]."""
    if isinstance(value, list) and value and all(isinstance(each, list) for each in value):
        wrong = next((i for i, each in enumerate(value) if len(each) != len(MISSING)), None)
        if wrong is not None:
            raise RequestError(f"{path}[{wrong}]", "expected x, y and confidence")
        value = list(chain.from_iterable(value))
    return _points(value, ANIMAL, size, path)


def _points(value: Any, count: int, size: tuple[int, int], path: str) -> Points:
    if not isinstance(value, list):
        raise RequestError(path, f"expected a list of numbers, got {_kind(value)}")
    if len(value) != 3 * count:
        message = f"expected {3 * count} numbers (x, y and confidence of {count} keypoints), got {len(value)}"
        raise RequestError(path, message)
    numbers = [_number(each, f"{path}[{i}]") for i, each in enumerate(value)]
    triples = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    found = [(x, y) for x, y, confidence in triples if confidence > 0]
    fractions = all(abs(each) <= 1 for point in found for each in point)
    width, height = (1, 1) if fractions else size
    far = next(
        (i for i, (x, y, _) in enumerate(triples) if max(abs(x) / width, abs(y) / height) > FARTHEST), None
    )
    if far is not None:
        raise RequestError(f"{path}[{3 * far}]", f"the keypoint {triples[far][:2]} is far outside the canvas")
    return tuple(
        Keypoint(x / width, y / height, confidence) if confidence > 0 else None
        for x, y, confidence in triples
    )


def _number(value: Any, path: str) -> float:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not abs(value) <= LARGEST:  # NaN is neither
        raise RequestError(path, f"expected a number, got {_shown(value)}")
    return float(value)


def _numbers(points: Points | None, size: tuple[int, int]) -> list[float] | None:
    if points is None:
        return None
    inside = all(max(abs(point.x), abs(point.y)) <= 1 for point in points if point is not None)
    width, height = (1, 1) if inside else size
    triples = (
        MISSING if point is None else (point.x * width, point.y * height, point.confidence)
        for point in points
    )
    return list(chain.from_iterable(triples))


def _kind(value: Any) -> str:
    """The name of a value's JSON type, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    """A value for an error message, shortened."""
    return repr(value)[:40]
