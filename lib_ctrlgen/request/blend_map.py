"""Blend maps: a sheet of n x n pictures with one of two to four concepts in each corner.

>>> corner_weights(0.5, 0.0, 2), corner_weights(0.5, 0.5, 4)
((0.5, 0.5), (0.25, 0.25, 0.25, 0.25))
"""

from __future__ import annotations

from msgspec.structs import replace

from .blend import Blend, Concept
from .schedule import Schedule, constant


def map_size(blend: Blend | None) -> tuple[int, int]:
    """Rows and columns of the sheet that `blend.explore` asks for; 1 x n for two concepts, else 1 x 1."""
    if blend is None or not blend.explore:
        return 1, 1
    return (1 if len(blend.concepts) == 2 else blend.explore), blend.explore


def map_cells(blend: Blend) -> tuple[Blend, ...]:
    """The blend of each picture of the sheet, row by row."""
    rows, columns = map_size(blend)
    if rows == columns == 1:
        return (blend,)
    places = [(x / (columns - 1), y / max(1, rows - 1)) for y in range(rows) for x in range(columns)]
    return tuple(_at(blend, corner_weights(x, y, len(blend.concepts))) for x, y in places)


def corner_weights(x: float, y: float, count: int) -> tuple[float, ...]:
    """The bilinear weight of each corner at `x`, `y` in 0..1; they sum to 1.

    The corners are top left, top right, bottom left, bottom right. With three concepts, the weight of the
    bottom right corner is divided equally between its two neighbours.
    """
    corners = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    if count == 3:
        first, right, below, last = corners
        return first, right + last / 2, below + last / 2
    return corners[:count]


def _at(blend: Blend, weights: tuple[float, ...]) -> Blend:
    pairs = zip(blend.concepts, weights, strict=True)
    return replace(blend, concepts=tuple(_weighed(*pair) for pair in pairs), explore=0)


def _weighed(concept: Concept, weight: float) -> Concept:
    hires = None if concept.hires is None else _scaled(concept.hires, weight)
    return replace(concept, weight=_scaled(concept.weight, weight), hires=hires)


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    plain = schedule.constant
    return schedule * constant(factor) if plain is None else constant(plain * factor)
