"""Depth in more detail than a network's input has, of a network for depth and one that merges depths.

Miangoleh et al. 2021, Boosting Monocular Depth Estimation Models to High-Resolution. A depth of the picture
at a small size is consistent, and one at a large size is detailed; a network merges them. The large size is
the greatest at which there are edges near most pixels. Then areas with many edges get a depth of their own,
which is merged into that of the whole picture. The numbers are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .network import Map, Pixels, between

FIELD = 448  # pixels: the receptive field of LeReS, and the small size
MERGED = 1024  # pixels: the sides of what the merging network gets
LARGEST = 1600  # pixels: no larger size is taken
ENLARGED = 3  # the large size is at most this multiple of the picture's longer side
CELL = 32  # pixels that are one cell in the search for the large size
FAR = 0.2  # the share of pixels that may be far from all edges
GREY = (0.2989, 0.5870, 0.1140)
MASK, MARGIN, BLUR = (
    3000,
    0.15,
    16,
)  # the side of the mask of an area, its border, and side / standard deviation
FINEST = 0.2  # the least factor of the size at which areas are searched


class Area(NamedTuple):
    """A square of a picture, in pixels."""

    x: int
    y: int
    side: int

    def grown(self, step: int) -> Area:
        """The square with sides that are longer by `step`, around about the same middle."""
        return Area(self.x - step // 2, self.y - step // 2, self.side + step)


@dataclass(frozen=True)
class Networks:
    """What computes depths.

    depth   returns the depth [H, W] of pixels [H, W, 3], seen by the network as a square of the given side
    merge   returns the merged depth of two depths, all [MERGED, MERGED]; it gets values in -1..1 and returns
            values in 0..1
    """

    depth: Callable[[Pixels, int], Map]
    merge: Callable[[Map, Map], Map]

    def merged(self, consistent: Map, detailed: Map) -> Map:
        """The merged depth [MERGED, MERGED] of two depths of any size and range."""
        first, second = (between(resized(each, (MERGED, MERGED))) * 2 - 1 for each in (consistent, detailed))
        return self.merge(first, second)

    def twofold(self, pixels: Pixels, large: int) -> Map:
        """The depth [MERGED, MERGED] of pixels in 0..1, of the small size and a large one."""
        return between(self.merged(self.depth(pixels, FIELD), self.depth(pixels, large)))


def detailed_depth(pixels: Pixels, networks: Networks) -> Map:
    """The depth [H, W] of pixels [H, W, 3], in about 0..1."""
    height, width = pixels.shape[:2]
    large, near = large_size(pixels)
    whole = networks.twofold(pixels, large)
    if max(height, width) < large:  # areas of the picture have no more detail than the network saw
        return resized(whole, (width, height))
    factor = max(min(1.0, 4 * near * large / LARGEST), FINEST)
    enlarged = search_picture(pixels, large, factor)
    scale = height / enlarged.shape[0]
    size = round(enlarged.shape[1] * scale), round(enlarged.shape[0] * scale)
    base = resized(whole, size)
    found = base.copy()
    seen = np.asarray(cv2.resize(enlarged, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    for area in sorted(areas(enlarged, int(CELL / factor)), key=lambda each: -each.side):
        x, y, side = (int(number) for number in np.round(np.array(area) * scale))
        place = np.s_[y : y + side, x : x + side]
        merge_area(found[place], base[place], seen[place], networks)
    return resized(found, (width, height))


def merge_area(found: Map, base: Map, pixels: Pixels, networks: Networks) -> None:
    """Blend the depth of an area into `found` [h, w]; `base` is the depth there of the whole picture.

    The area's own depth gets the range of `base` by a line that fits it best.
    """
    part = networks.merged(base, networks.twofold(pixels, 2 * FIELD))
    line = np.polyfit(part.ravel().astype(float), resized(base, (MERGED, MERGED)).ravel().astype(float), 1)
    fitted = resized(np.asarray(np.polyval(line, part), np.float32), (base.shape[1], base.shape[0]))
    mask = np.outer(mask_of(base.shape[0]), mask_of(base.shape[1]))
    found[:] = found * (1 - mask) + fitted * mask


def mask_of(length: int) -> NDArray[np.float32]:
    """How much of an area's depth counts along one side: 1 in the middle, 0 at the ends."""
    side = MASK // BLUR
    line = np.zeros((MASK, 1), np.float32)
    line[int(MARGIN * MASK) : MASK - int(MARGIN * MASK)] = 1
    soft = cv2.GaussianBlur(line, (1, 4 * side + 1), side)
    return np.asarray(cv2.resize(soft, (1, length), interpolation=cv2.INTER_LINEAR), np.float32)[:, 0]


def large_size(pixels: Pixels) -> tuple[int, float]:
    """The side in pixels at which the network is to see a picture, and the share of it that is near edges."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    edges = np.asarray(cv2.resize(gradients(pixels), (side, side)), np.float32)
    low, high = float(edges.min()), float(edges.max())
    edges = (edges >= low + 0.4 * (high - low)).astype(np.float32)
    most = min(LARGEST, ENLARGED * max(height, width))
    cells, found, near = FIELD // CELL, FIELD // CELL, 1.0
    for size in range(cells, most // CELL, cells // 2):
        small = pooled(edges, size)
        near = float(cv2.dilate(small, np.ones((cells // 4, cells // 4))).mean())
        if 1 - float(cv2.dilate(small, np.ones((cells, cells))).mean()) > FAR:
            break
        found = size
    return found * CELL, near


def pooled(edges: Map, size: int) -> Map:
    """Edges [N, N] at a smaller size [size, size]: 1 where about half of a cell has an edge near, else 0."""
    step = max(1, edges.shape[0] // size)
    wide = np.pad(edges, (0, -edges.shape[0] % step))
    cells = wide.shape[0] // step
    most = wide.reshape(cells, step, cells, step).max((1, 3))
    return np.asarray(cv2.resize(most, (size, size)) >= 0.5, np.float32)


def gradients(pixels: Pixels) -> Map:
    """The sum of the absolute differences of brightness [H, W] to the right and downwards (Sobel)."""
    grey = pixels.astype(np.float32) @ np.asarray(GREY, np.float32)
    return np.asarray(abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1)) + abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)))


def search_picture(pixels: Pixels, large: int, factor: float) -> Pixels:
    """The picture at the size at which areas are searched: twice the large size, divided by `factor`."""
    longest = max(pixels.shape[:2])
    height, width = (
        round((2 * large if side == longest else round(2 * large * side / longest)) / factor)
        for side in pixels.shape[:2]
    )
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def areas(pixels: Pixels, step: int) -> Iterator[Area]:
    """The areas of a picture with as many edges as the whole picture has, and as large as they can be.

    They begin as squares of twice the receptive field, which overlap, and grow by `step` pixels.
    """
    edges = gradients(pixels)
    positive = edges[edges > 0]
    edges[edges < (positive.mean(dtype=float) if positive.size else 0.0)] = 0
    sums, mean = cv2.integral(edges, sdepth=cv2.CV_64F), edges.mean(dtype=float)
    height, width = edges.shape

    def dense(area: Area) -> bool:
        right, below = area.x + area.side, area.y + area.side
        total = sums[below, right] - sums[area.y, right] - sums[below, area.x] + sums[area.y, area.x]
        return bool(total / area.side**2 >= mean)

    def inside(area: Area) -> bool:
        return min(area.x, area.y) >= 0 and area.y + area.side <= height and area.x + area.side <= width

    for x in range(0, width - 2 * FIELD, round(FIELD * 0.75)):
        for y in range(0, height - 2 * FIELD, round(FIELD * 0.75)):
            area = Area(x, y, 2 * FIELD)
            if dense(area):
                while inside(area.grown(step)) and dense(area.grown(step)):
                    area = area.grown(step)
                yield area


def resized(values: Map, size: tuple[int, int]) -> Map:
    """Values [h, w] at a size (width, height)."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_CUBIC), np.float32)
