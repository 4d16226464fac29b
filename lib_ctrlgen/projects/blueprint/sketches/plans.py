"""Random floor plans: a rectangle split into rooms, walls as double lines, doors, windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .strokes import FINE, HEAVY, Box, Drawing, Points, Stroke, arc, corners_of, line

OUTER, INNER = 0.022, 0.014  # thickness of walls, in shares of the sheet
LEAST = 0.2  # shortest side of a room
DOOR = 0.075


@dataclass(frozen=True, kw_only=True)
class Wall:
    """A wall between two rooms along `x` (vertical) or `y`, from `start` to `end`, with a door at `door`."""

    vertical: bool
    at: float
    start: float
    end: float
    door: float


def random_plan(rng: np.random.Generator) -> Drawing:
    """A plan of two to six rooms."""
    half = float(rng.uniform(0.3, 0.4)), float(rng.uniform(0.26, 0.36))
    house = (0.5 - half[0], 0.5 - half[1], 0.5 + half[0], 0.5 + half[1])
    walls = [*_split(rng, house, int(rng.integers(1, 3)))]
    entrance = float(rng.uniform(0.3, 0.6))
    strokes = [*_outside(rng, house, entrance)]
    for wall in walls:
        strokes += _inside(wall)
    return Drawing(kind="plan", strokes=tuple(strokes), shaded=(*_cut(house),))


def _split(rng: np.random.Generator, area: Box, depth: int) -> Iterator[Wall]:
    """Walls that divide an area into rooms; the longer side is divided first."""
    left, top, right, bottom = area
    vertical = right - left > bottom - top
    start, end = (left, right) if vertical else (top, bottom)
    if depth == 0 or end - start < 2 * LEAST:
        return
    at = start + (end - start) * float(rng.uniform(0.4, 0.6))
    low, high = (top, bottom) if vertical else (left, right)
    door = low + (high - low) * float(rng.choice([0.25, 0.65]))
    yield Wall(vertical=vertical, at=at, start=low, end=high, door=door)
    first = (left, top, at, bottom) if vertical else (left, top, right, at)
    second = (at, top, right, bottom) if vertical else (left, at, right, bottom)
    for part in (first, second):
        yield from _split(rng, part, depth - 1)


def _inside(wall: Wall) -> Iterator[Stroke]:
    """A wall between rooms: two lines with a gap for the door, its jambs, its leaf and its swing."""
    for side in (-INNER / 2, INNER / 2):
        yield _along(wall.vertical, wall.at + side, wall.start, wall.door)
        yield _along(wall.vertical, wall.at + side, wall.door + DOOR, wall.end)
    for jamb in (wall.door, wall.door + DOOR):
        yield _along(not wall.vertical, jamb, wall.at - INNER / 2, wall.at + INNER / 2)
    leaf, hinge = wall.at + INNER / 2, wall.door
    yield _along(not wall.vertical, hinge, leaf, leaf + DOOR, FINE)
    centre = (leaf, hinge) if wall.vertical else (hinge, leaf)
    yield arc(centre, (DOOR, DOOR), 0.0, np.pi / 2)


def _along(vertical: bool, at: float, start: float, end: float, weight: float = HEAVY) -> Stroke:
    return line(at, start, at, end, weight) if vertical else line(start, at, end, at, weight)


def _outside(rng: np.random.Generator, house: Box, entrance: float) -> Iterator[Stroke]:
    """The outer walls as two lines, with windows in three sides and the entrance in the lowest one."""
    left, top, right, bottom = house
    wide, high = right - left, bottom - top
    door = left + wide * entrance
    for inset in (0.0, OUTER):
        yield line(left + inset, top + inset, right - inset, top + inset, HEAVY)
        yield line(right - inset, top + inset, right - inset, bottom - inset, HEAVY)
        yield line(left + inset, top + inset, left + inset, bottom - inset, HEAVY)
        yield line(left + inset, bottom - inset, door, bottom - inset, HEAVY)
        yield line(door + DOOR, bottom - inset, right - inset, bottom - inset, HEAVY)
    for jamb in (door, door + DOOR):
        yield line(jamb, bottom - OUTER, jamb, bottom, HEAVY)
    start = left + wide * float(rng.uniform(0.1, 0.25))
    yield from _window(vertical=False, at=top, start=start, length=wide * 0.2)
    yield from _window(vertical=False, at=top, start=start + wide * 0.45, length=wide * 0.2)
    start = top + high * float(rng.uniform(0.2, 0.5))
    yield from _window(vertical=True, at=left, start=start, length=high * 0.25)
    yield from _window(vertical=True, at=right - OUTER, start=start, length=high * 0.25)


def _window(*, vertical: bool, at: float, start: float, length: float) -> Iterator[Stroke]:
    """A window in an outer wall: two ends across it."""
    for end in (start, start + length):
        yield _along(not vertical, end, at, at + OUTER, FINE)


def _cut(house: Box) -> Iterator[Points]:
    """The left and the upper outer wall, which are shaded."""
    left, top, right, bottom = house
    yield np.array(corners_of((left, top, right, top + OUTER)))
    yield np.array(corners_of((left, top, left + OUTER, bottom)))
