"""Random elevations of small houses: walls, a roof, windows in rows, a door, a ground line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .strokes import FINE, HEAVY, Box, Drawing, Stroke, box, closed, corners_of, line

GROUND = 0.84
STOREY = 0.2  # height of a storey, in shares of the sheet


def random_elevation(rng: np.random.Generator) -> Drawing:
    """An elevation of one to three storeys with a gable, a hipped or a flat roof."""
    storeys, bays = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    half = 0.1 * bays * float(rng.uniform(0.75, 0.85)) + 0.06
    left, right = 0.5 - half, 0.5 + half
    top = GROUND - STOREY * storeys * (0.85 if storeys == 3 else 1.0)
    strokes = [line(0.04, GROUND, 0.96, GROUND, HEAVY), *_walls((left, top, right, GROUND))]
    roof, shade = _roof(rng, (left, top, right, GROUND))
    strokes += [*roof, *_openings(rng, (left, top, right, GROUND), storeys, bays)]
    return Drawing(kind="elevation", strokes=tuple(strokes), shaded=(np.array(shade),))


def _walls(house: Box) -> Iterator[Stroke]:
    left, top, right, bottom = house
    yield line(left, top, left, bottom, HEAVY)
    yield line(right, top, right, bottom, HEAVY)
    yield line(left, top, right, top, HEAVY)


def _roof(rng: np.random.Generator, house: Box) -> tuple[Iterator[Stroke], list[tuple[float, float]]]:
    """The strokes of the roof, and the area in it that is shaded."""
    left, top, right, _ = house
    over, height = 0.035, float(rng.uniform(0.11, 0.16))
    kind = str(rng.choice(["gable", "hip", "flat"]))
    if kind == "flat":
        slab = (left - over, top - 0.045, right + over, top)
        return box(slab, HEAVY), corners_of(slab)
    ridge = 0.0 if kind == "gable" else 0.5 * (right - left) - height * 0.8
    middle = (left + right) / 2
    outline = [(left - over, top), (middle - ridge, top - height)]
    outline += [(middle + ridge, top - height)] if ridge > 0 else []
    outline.append((right + over, top))
    return closed(outline, HEAVY), outline


def _openings(rng: np.random.Generator, house: Box, storeys: int, bays: int) -> Iterator[Stroke]:
    """A window in each bay of each storey; one on the ground floor is a door."""
    left, top, right, bottom = house
    wide, high = (right - left) / bays, (bottom - top) / storeys
    door, shape = int(rng.integers(bays)), float(rng.uniform(0.42, 0.55))
    for storey in range(storeys):
        for bay in range(bays):
            x, y = left + (bay + 0.5) * wide, top + (storey + 0.5) * high
            if storey == storeys - 1 and bay == door:
                yield from _door((x - 0.22 * wide, y - 0.26 * high, x + 0.22 * wide, bottom))
            else:
                half = shape * wide / 2, 0.27 * high
                yield from _window((x - half[0], y - half[1], x + half[0], y + half[1]))


def _door(area: Box) -> Iterator[Stroke]:
    left, top, right, bottom = area
    yield line(left, top, left, bottom)
    yield line(right, top, right, bottom)
    yield line(left, top, right, top)


def _window(area: Box) -> Iterator[Stroke]:
    """A frame with one bar in the middle."""
    yield from box(area)
    middle = (area[0] + area[2]) / 2
    yield line(middle, area[1], middle, area[3], FINE)
