"""Resizing of control maps so that they stay maps.

The rules that users of the field know: few colours (a segmentation) nearest, shrinking by
area, else cubic; a black and white map stays black and white (threshold of Otsu, 1979), and
its lines stay one pixel wide (non-maximum suppression, then thinning of Zhang and Suen, 1984).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def resample(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize [H, W, 3] to [height, width, 3] by the rules above."""
    if pixels.shape[:2] == (height, width):
        return pixels
    colours = count_colours(pixels, 200)
    if 2 < colours < 200:
        return _resize(pixels, width, height, cv2.INTER_NEAREST)
    shrinking = width * height < pixels.shape[0] * pixels.shape[1]
    resized = _resize(pixels, width, height, cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
    if colours == 2 and pixels.min() < 16 and pixels.max() > 240:
        return _binary(resized, thin_lines=has_thin_lines(pixels))
    return resized


def _resize(pixels: Pixels, width: int, height: int, interpolation: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


def count_colours(pixels: Pixels, limit: int) -> int:
    """The number of different colours in [H, W, 3], at most `limit`."""
    packed = pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    few = np.unique(packed[:: max(1, packed.shape[0] // 64)])
    return min(limit, len(few) if len(few) >= limit else len(np.unique(packed)))


def border_colour(pixels: Pixels) -> Pixels:
    """The median colour [3] of the outermost pixels."""
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.asarray(np.median(np.concatenate(edges), axis=0), np.uint8)


def has_thin_lines(pixels: Pixels) -> bool:
    """Whether more than half of the white pixels vanish under a 3 x 3 opening."""
    white = pixels.max(axis=2) > 127
    opened = cv2.morphologyEx(white.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return bool((white & (opened == 0)).sum() * 2 > white.sum())


def _binary(resized: Pixels, *, thin_lines: bool) -> Pixels:
    grey = resized.mean(axis=2).astype(np.uint8)
    if thin_lines:
        grey = suppress_non_maxima(grey)
    _, binary = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if thin_lines:
        binary = thin(np.asarray(binary) > 0).astype(np.uint8) * 255
    return np.repeat(np.asarray(binary, np.uint8)[..., None], 3, axis=2)


_LINES = (
    np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]], np.uint8),
    np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0]], np.uint8),
    np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.uint8),
    np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.uint8),
)


def suppress_non_maxima(grey: Pixels) -> Pixels:
    """Keep the pixels of [H, W] that are the largest of three along any of four directions."""
    kept = np.zeros_like(grey)
    for line in _LINES:
        largest = np.asarray(cv2.dilate(grey, line))
        np.putmask(kept, largest == grey, grey)
    return kept


def thin(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Reduce the strokes of [H, W] to one pixel of width, without breaking them (Zhang, Suen)."""
    current = lines.copy()
    while True:
        before = current.sum()
        for second in (False, True):
            current &= ~_removable(current, second=second)
        if current.sum() == before:
            return current


def _removable(lines: NDArray[np.bool_], *, second: bool) -> NDArray[np.bool_]:
    """The pixels that one half-pass of the algorithm deletes."""
    ring = _neighbours(lines)
    count = sum(item.astype(np.uint8) for item in ring)
    pairs = zip(ring, (*ring[1:], ring[0]), strict=True)
    crossings = sum((~here & there).astype(np.uint8) for here, there in pairs)
    north, east, south, west = ring[0::2]
    if second:
        corner = ~(north & east & west) & ~(north & south & west)
    else:
        corner = ~(north & east & south) & ~(east & south & west)
    return np.asarray(lines & (count >= 2) & (count <= 6) & (crossings == 1) & corner, np.bool_)


def _neighbours(lines: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """The eight neighbours of every pixel of [H, W], clockwise from the north."""
    height, width = lines.shape
    padded = np.pad(lines, 1)
    ring = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    return tuple(padded[y : y + height, x : x + width] for y, x in ring)
