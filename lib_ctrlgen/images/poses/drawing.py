"""Draws poses as sd-webui-controlnet draws them, which is what OpenPose ControlNets were trained with.

Limbs are ellipses in darker colours, joints are discs in full colours. The widths are in pixels of the
drawing, whatever its size. A keypoint of a hand or a face at the very edge (x or y is 0) is left out.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .pose import Points, Pose

Colour: TypeAlias = tuple[float, float, float]
Place: TypeAlias = tuple[int, int]
Canvas: TypeAlias = NDArray[np.uint8]

SHADE = 0.6  # a limb's colour, relative to its joint's
LIMB, HAND_LINE, FACE_DISC, ANIMAL_LINE = 4, 2, 3, 5  # pixels
HAND_JOINT: Colour = (0, 0, 255)
WHITE: Colour = (255, 255, 255)

# Pairs of keypoints, counted from 1 as in OpenPose's tables.
LIMBS = (
    (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14),
    (2, 1), (1, 15), (15, 17), (1, 16), (16, 18),
)  # fmt: skip
COLOURS: tuple[Colour, ...] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
FINGERS = (
    (1, 2), (2, 3), (3, 4), (4, 5), (1, 6), (6, 7), (7, 8), (8, 9), (1, 10), (10, 11), (11, 12), (12, 13),
    (1, 14), (14, 15), (15, 16), (16, 17), (1, 18), (18, 19), (19, 20), (20, 21),
)  # fmt: skip
ANIMAL_LIMBS = (
    (1, 2), (2, 3), (1, 3), (3, 4), (4, 9), (9, 10), (10, 11), (4, 6), (6, 7), (7, 8), (4, 5), (5, 15),
    (15, 16), (16, 17), (5, 12), (12, 13), (13, 14),
)  # fmt: skip
ANIMAL_COLOURS: tuple[Colour, ...] = (
    (255, 255, 255), (100, 255, 100), (150, 255, 255), (100, 50, 255), (50, 150, 200), (0, 255, 255),
    (0, 150, 0), (0, 0, 255), (0, 0, 150), (255, 50, 255), (255, 0, 255), (255, 0, 0), (150, 0, 0),
    (255, 255, 100), (0, 150, 0), (255, 255, 0), (150, 150, 150),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DrawnParts:
    """What is drawn of people, and the half width of limbs, which is also the radius of joints, in pixels."""

    body: bool = True
    hands: bool = True
    face: bool = True
    limb: int = LIMB


def draw(pose: Pose, size: tuple[int, int], parts: DrawnParts | None = None) -> Image.Image:
    """An RGB picture of `size` (width, height) in pixels with the pose, fitted to it, on black.

    Each person's body, hands and face are drawn before the next person; animals come last.
    """
    chosen = parts or DrawnParts()
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    for person in pose.people:
        if chosen.body and person.body is not None:
            _draw_body(canvas, person.body, chosen.limb)
        for hand in (person.left_hand, person.right_hand):
            if chosen.hands and hand is not None:
                _draw_hand(canvas, hand)
        if chosen.face and person.face is not None:
            _draw_face(canvas, person.face)
    for animal in pose.animals:
        _draw_animal(canvas, animal)
    return Image.fromarray(canvas)


def as_picture(shown: Image.Image | Pose) -> Image.Image:
    """A picture itself, or the drawing of a pose on its canvas."""
    return draw(shown, shown.size) if isinstance(shown, Pose) else shown


def draw_limb(
    canvas: Canvas, one: tuple[float, float], other: tuple[float, float], colour: Colour, half_width: int
) -> None:
    """Draw a filled ellipse between two places (x, y) in pixels."""
    along = one[0] - other[0], one[1] - other[1]
    middle = int((one[0] + other[0]) / 2), int((one[1] + other[1]) / 2)
    axes = int(np.hypot(*along) / 2), half_width
    outline = cv2.ellipse2Poly(middle, axes, int(np.degrees(np.arctan2(along[1], along[0]))), 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(outline, np.int32), colour)


def _draw_body(canvas: Canvas, points: Points, half_width: int) -> None:
    height, width = canvas.shape[:2]
    exact = [None if point is None else (point.x * width, point.y * height) for point in points]
    for (first, second), colour in zip(LIMBS, COLOURS, strict=False):
        one, other = exact[first - 1], exact[second - 1]
        if one is not None and other is not None:
            draw_limb(canvas, one, other, _shaded(colour), half_width)
    for place, colour in zip(exact, COLOURS, strict=True):
        if place is not None:
            cv2.circle(canvas, (int(place[0]), int(place[1])), half_width, colour, -1)


def _draw_hand(canvas: Canvas, points: Points) -> None:
    places = _inner_places(canvas, points)
    for number, (first, second) in enumerate(FINGERS):
        red, green, blue = hsv_to_rgb(number / len(FINGERS), 1, 1)
        colour = 255 * red, 255 * green, 255 * blue
        _draw_line(canvas, places[first - 1], places[second - 1], colour, HAND_LINE)
    for place in places:
        if place is not None:
            cv2.circle(canvas, place, LIMB, HAND_JOINT, -1)


def _draw_face(canvas: Canvas, points: Points) -> None:
    for place in _inner_places(canvas, points):
        if place is not None:
            cv2.circle(canvas, place, FACE_DISC, WHITE, -1)


def _draw_animal(canvas: Canvas, points: Points) -> None:
    places = _places(canvas, points)
    for (first, second), colour in zip(ANIMAL_LIMBS, ANIMAL_COLOURS, strict=True):
        _draw_line(canvas, places[first - 1], places[second - 1], colour, ANIMAL_LINE)


def _draw_line(canvas: Canvas, one: Place | None, other: Place | None, colour: Colour, width: int) -> None:
    if one is not None and other is not None:
        cv2.line(canvas, one, other, colour, width)


def _places(canvas: Canvas, points: Points) -> list[Place | None]:
    """The pixels of the keypoints; None for those that were not found."""
    height, width = canvas.shape[:2]
    return [None if point is None else (int(point.x * width), int(point.y * height)) for point in points]


def _inner_places(canvas: Canvas, points: Points) -> list[Place | None]:
    """Like `_places`, without those whose x or y is 0 or less."""
    return [place if place is not None and min(place) > 0 else None for place in _places(canvas, points)]


def _shaded(colour: Colour) -> Colour:
    red, green, blue = (int(value * SHADE) for value in colour)
    return red, green, blue
