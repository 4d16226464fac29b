"""OpenPose JSON for tests."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

Point = tuple[float, float, float]

# A person in pixels of a canvas of 200 x 400, facing the viewer.
BODY: Sequence[Point] = (
    (100, 60, 1), (100, 110, 1), (70, 110, 1), (55, 160, 1), (50, 210, 1), (130, 110, 1), (145, 160, 1),
    (150, 210, 1), (82, 220, 1), (80, 290, 1), (80, 360, 1), (118, 220, 1), (120, 290, 1), (120, 360, 1),
    (92, 50, 1), (108, 50, 1), (82, 55, 1), (118, 55, 1),
)  # fmt: skip


def flat(points: Sequence[Point]) -> list[float]:
    return list(chain.from_iterable(points))


def document(body: Sequence[Point] = BODY) -> dict[str, Any]:
    """A document with one person whose first body keypoints are these, on a canvas of 200 x 400."""
    points = [*body, *[(0.0, 0.0, 0.0)] * (18 - len(body))]
    return {"people": [{"pose_keypoints_2d": flat(points)}], "canvas_width": 200, "canvas_height": 400}
