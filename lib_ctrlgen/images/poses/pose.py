"""Poses of people and animals as keypoints, in fractions of the canvas that they were found on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

BODY, HAND, FACE, ANIMAL = 18, 21, 70, 17  # keypoints: COCO with neck, hand, face, AP-10K


@dataclass(frozen=True)
class Keypoint:
    """A keypoint: x and y in fractions of the canvas, from its top left corner, and a confidence above 0."""

    x: float
    y: float
    confidence: float = 1.0


Points: TypeAlias = tuple[Keypoint | None, ...]  # None for a keypoint that was not found


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person. Parts that were not looked for, or not found, are None.

    body                   18 keypoints in the order of OpenPose's COCO model (the neck is the second)
    left_hand, right_hand  21 keypoints each
    face                   70 keypoints
    """

    body: Points | None = None
    left_hand: Points | None = None
    right_hand: Points | None = None
    face: Points | None = None


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The people and animals on a canvas of `width` x `height` pixels; an animal has 17 keypoints."""

    people: tuple[Person, ...] = ()
    animals: tuple[Points, ...] = ()
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas in pixels."""
        return self.width, self.height

    @property
    def keypoints(self) -> Iterator[Keypoint]:
        """All keypoints that were found."""
        for person in self.people:
            for part in (person.body, person.left_hand, person.right_hand, person.face):
                yield from (point for point in part or () if point is not None)
        for animal in self.animals:
            yield from (point for point in animal if point is not None)

    def above(self, confidence: float) -> Pose:
        """The pose without keypoints whose confidence is below this one."""
        return self.changed(lambda point: point if point.confidence >= confidence else None)

    def placed(self, box: tuple[float, float, float, float], width: int, height: int) -> Pose:
        """The pose on a new canvas of `width` x `height` pixels, on which the old one fills a box.

        The box is left, top, width and height in pixels of the new canvas, and may be larger than it.
        """
        left, top, across, down = box

        def moved(point: Keypoint) -> Keypoint:
            x, y = (left + point.x * across) / width, (top + point.y * down) / height
            return Keypoint(x, y, point.confidence)

        return replace(self.changed(moved), width=width, height=height)

    def changed(self, change: Callable[[Keypoint], Keypoint | None]) -> Pose:
        """The pose with every keypoint replaced by `change` of it."""

        def part(points: Points | None) -> Points | None:
            return None if points is None else all_of(points)

        def all_of(points: Points) -> Points:
            return tuple(None if point is None else change(point) for point in points)

        people = (
            Person(
                body=part(person.body),
                left_hand=part(person.left_hand),
                right_hand=part(person.right_hand),
                face=part(person.face),
            )
            for person in self.people
        )
        return replace(self, people=tuple(people), animals=tuple(map(all_of, self.animals)))
