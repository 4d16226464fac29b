"""The lines of a drawing before anybody draws them: exact, in the order of drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["plan", "elevation"]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

HEAVY, MIDDLE, FINE = 1.0, 0.75, 0.55  # line weights: cut walls and ground, outlines, openings


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One line of a drawing.

    points  [N, 2], x and y in shares of the sheet's width and height
    weight  the pressure of the pen, 0..1
    """

    points: Points
    weight: float = MIDDLE


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The exact lines of a plan or an elevation, and the closed areas that are shaded by hand."""

    kind: Kind
    strokes: tuple[Stroke, ...]
    shaded: tuple[Points, ...] = ()


def line(x1: float, y1: float, x2: float, y2: float, weight: float = MIDDLE) -> Stroke:
    """A straight stroke."""
    return Stroke(points=np.array([[x1, y1], [x2, y2]]), weight=weight)


def closed(corners: Sequence[tuple[float, float]], weight: float = MIDDLE) -> Iterator[Stroke]:
    """The sides of a polygon, one stroke each."""
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        yield line(x1, y1, x2, y2, weight)


def box(area: Box, weight: float = MIDDLE) -> Iterator[Stroke]:
    """The four sides of a rectangle."""
    yield from closed(corners_of(area), weight)


def corners_of(area: Box) -> list[tuple[float, float]]:
    """The corners of a rectangle, clockwise from the top left one."""
    left, top, right, bottom = area
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def arc(centre: tuple[float, float], radius: tuple[float, float], start: float, end: float) -> Stroke:
    """A part of an ellipse from angle `start` to `end` in radians, as 17 points."""
    angle = np.linspace(start, end, 17)
    points = np.stack([centre[0] + radius[0] * np.cos(angle), centre[1] + radius[1] * np.sin(angle)], 1)
    return Stroke(points=points, weight=FINE)
