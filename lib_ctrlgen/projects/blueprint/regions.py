"""The areas between the lines of a drawing, and what they are: rooms and walls, or sky, building, openings.

Depth and segmentation maps are made from them, because networks that estimate depth or classes know photos
and find next to nothing in a drawing of lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Labels: TypeAlias = NDArray[np.int32]
Pixels: TypeAlias = NDArray[np.uint8]
Kind: TypeAlias = Literal["plan", "elevation"]

NECK = 0.1  # a gap narrower than this share of the short side, such as a door, parts two regions
SMALLEST = 0.0004  # the share of the sheet from which an area counts as a region
NARROWEST = 1 / 200  # the least radius of the largest circle in a region, in shares of the short side
OPENING = 0.15  # what is smaller than this share of the largest region inside an elevation is an opening
STANDS = (
    0.012  # an opening whose lower end is this near to the ground line, in shares of the height, is a door
)
OVERHANG = 0.015  # a ground line is longer by this share of the width on either side


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How a class of regions looks in maps: its depth, nearer = brighter, and its colour in ADE20k."""

    depth: int
    colour: tuple[int, int, int]


# The class's index is its place in the mapping.
CLASSES: Mapping[str, Appearance] = MappingProxyType(
    {
        "ground around a plan": Appearance(depth=40, colour=(120, 120, 70)),  # earth
        "room": Appearance(depth=110, colour=(80, 50, 50)),  # floor
        "wall": Appearance(depth=215, colour=(120, 120, 120)),
        "sky": Appearance(depth=20, colour=(6, 230, 230)),
        "ground": Appearance(depth=60, colour=(4, 250, 7)),  # grass
        "building": Appearance(depth=200, colour=(180, 120, 120)),
        "window": Appearance(depth=140, colour=(230, 230, 230)),
        "door": Appearance(depth=150, colour=(8, 255, 51)),
    }
)
NAMES = tuple(CLASSES)
DEPTHS = np.array([each.depth for each in CLASSES.values()], np.uint8)
COLOURS = np.array([each.colour for each in CLASSES.values()], np.uint8)


def depth_of(lines: Mask) -> Pixels:
    """A depth map [H, W], nearer = brighter: walls stand above rooms, buildings before the sky."""
    return np.asarray(_over_lines(DEPTHS[classes_of(lines)], lines), np.uint8)


def segments_of(lines: Mask) -> Pixels:
    """A segmentation map [H, W, 3] in the colours of ADE20k."""
    depth, classes = depth_of(lines), classes_of(lines)
    order = np.argsort(DEPTHS)
    inner = order[
        np.searchsorted(DEPTHS[order], depth)
    ]  # lines belong to the nearer side, as in the depth map
    return np.asarray(COLOURS[np.where(lines, inner, classes)], np.uint8)


def _over_lines(depth: Pixels, lines: Mask) -> Pixels:
    """The map with each line as near as the nearest region beside it, so that outlines are a part of it."""
    reach = _odd(min(lines.shape) / 100)
    return np.where(lines, cv2.dilate(depth, np.ones((reach, reach), np.uint8)), depth)


def _odd(size: float) -> int:
    return 2 * max(1, round(size / 2)) + 1


def classes_of(lines: Mask) -> Labels:
    """The index into `CLASSES` of each pixel of a drawing with these lines, [H, W]."""
    labels, kind, ground = regions_of(lines), kind_of(lines), ground_of(lines)
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    if kind == "plan":
        wide = _radii(labels, count) > NECK * min(lines.shape) / 4
        table = np.where(wide, NAMES.index("room"), NAMES.index("wall"))
        table[0] = NAMES.index("ground around a plan")
        return np.asarray(table[labels], np.int32)
    small = areas < OPENING * max(areas[1:], default=0)
    lowest = np.array([_lowest(labels == number) for number in range(count)])
    stands = lowest >= ground - STANDS * len(lines)
    table = np.where(
        small, np.where(stands, NAMES.index("door"), NAMES.index("window")), NAMES.index("building")
    )
    table[0] = NAMES.index("sky")
    classes = np.asarray(table[labels], np.int32)
    classes[ground:][classes[ground:] == NAMES.index("sky")] = NAMES.index("ground")
    return classes


def _lowest(region: Mask) -> int:
    return int(np.flatnonzero(region.any(1)).max(initial=0))


def _radii(labels: Labels, count: int) -> NDArray[np.float64]:
    """The radius of the largest circle in each region, in pixels."""
    edges = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
    radii = np.zeros(count)
    np.maximum.at(radii, labels.ravel(), distance.ravel())
    return radii


def regions_of(lines: Mask) -> Labels:
    """The number of the region of each pixel, [H, W]; 0 is the outside, which touches the sheet's border."""
    reach = _odd(min(lines.shape) / 250)
    free = cv2.dilate(lines.astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0
    landscape = np.dstack([np.where(free, 0, 255).astype(np.uint8)] * 3)
    grown = cv2.watershed(landscape, _markers(free))
    ridges = grown < 1
    beside = cv2.dilate(np.where(ridges, 0, grown).astype(np.float32), np.ones((5, 5), np.uint8))
    return np.asarray(np.maximum(np.where(ridges, beside, grown), 1) - 1, np.int32)


def _markers(free: Mask) -> Labels:
    """A number from 2 on for the core of each region, 1 for the outside, 0 where it is to be decided.

    Cores are what is left when necks are closed; a closed area that is too narrow for that is one core.
    """
    padded = np.pad(free, 1, constant_values=True).astype(np.uint8)
    distance = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)
    wide = free & (distance > NECK / 2 * min(free.shape))
    count, cores = cv2.connectedComponents(wide.astype(np.uint8), connectivity=4)
    parts, usable = _parts(free, distance)
    usable[np.unique(parts[wide])] = False  # these have cores
    markers = np.where(cores > 0, cores + 1, 0) + np.where(usable[parts], parts + count + 1, 0)
    outside = [*np.unique(_border(np.where(free, markers, 0)))]
    markers = np.where(np.isin(markers, outside) & (markers > 0), 1, markers)
    if not (markers == 1).any():
        markers[0], markers[-1], markers[:, 0], markers[:, -1] = 1, 1, 1, 1
    known = np.unique(np.concatenate([[0, 1], markers.ravel()]))
    return np.searchsorted(known, markers).astype(np.int32)


def _parts(free: Mask, distance: NDArray[np.float32]) -> tuple[Labels, Mask]:
    """The connected free areas, and which of them are large and wide enough for a region."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    radii = np.zeros(count)
    np.maximum.at(radii, np.asarray(parts, np.int32).ravel(), distance.ravel())
    usable = (stats[:, cv2.CC_STAT_AREA] >= SMALLEST * free.size) & (radii >= NARROWEST * min(free.shape))
    usable[0] = False
    return np.asarray(parts, np.int32), usable


def _border(labels: Labels) -> Labels:
    return np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])


def ground_of(lines: Mask) -> int:
    """The row of the longest level line in the lower half."""
    height = len(lines)
    band = cv2.dilate(lines.astype(np.uint8), np.ones((max(3, height // 100), 1), np.uint8))
    return height // 2 + int(band[height // 2 :].mean(1).argmax())


def kind_of(lines: Mask) -> Kind:
    """`elevation` if there is a ground line: level, longer than what stands on it, with nothing below."""
    height, width = lines.shape
    ground, reach = ground_of(lines), max(3, height // 50)
    at = np.asarray(lines[ground - reach : ground + reach].any(0), np.bool_)
    above = np.asarray(lines[: ground - reach].any(0), np.bool_)
    below = lines[ground + reach :].sum() > 0.02 * lines.sum()
    if below or not above.any() or not at.any():
        return "plan"
    longer = [abs(_end(at, side) - _end(above, side)) for side in (0, -1)]
    wider = at[_end(at, 0) : _end(above, 0) + 1].all() and _end(at, -1) > _end(above, -1)
    return "elevation" if wider and min(longer) > OVERHANG * width else "plan"


def _end(columns: Mask, side: int) -> int:
    """The first (0) or the last (-1) column that is set."""
    return int(np.flatnonzero(columns)[side])
