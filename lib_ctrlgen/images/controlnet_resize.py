"""Resizes control maps pixel for pixel as sd-webui-controlnet 1.1.455 does.

It differs from `images.resize` in maps of black and white lines: their non-maxima are suppressed before they
are thinned, thinning removes the eight patterns one after another, and enlarged lines lose their spurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .resize import Pixels, count_colours

MOST_PASSES = 32
FEW_COLOURS = 200
# Neighbourhoods whose middle pixel is removed: 1 is white, -1 black, 0 either. Each is also turned by 90, 180
# and 270 degrees.
_EDGES = (((-1, -1, -1), (0, 1, 0), (1, 1, 1)), ((0, -1, -1), (1, 1, -1), (0, 1, 0)))
_SPURS = (((-1, -1, -1), (-1, 1, -1), (0, 0, -1)), ((-1, -1, -1), (-1, 1, -1), (-1, 0, 0)))
# A pixel stays if it is the largest of three along one of these lines.
_LINES = (
    ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
    ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
)
_CORNER = np.ones((3, 3), np.uint8)


def resample_controlnet(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize a control map [H, W, 3], whole numbers in 0..255, to [height, width, 3] of the same type.

    With a type of floats the result may lie between whole numbers, and outside 0..255.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = np.asarray(cv2.resize(pixels, (width, height), interpolation=way(pixels, width, height)))
    if count_colours(as_bytes(pixels), FEW_COLOURS) != 2 or pixels.min() >= 16 or pixels.max() <= 240:
        return np.asarray(resized, pixels.dtype)
    grey = np.asarray(resized.astype(np.float32).mean(axis=2).clip(0, 255), np.uint8)
    lines = has_lines(pixels)
    _, binary = cv2.threshold(_maxima(grey) if lines else grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if lines:
        binary = thinned(np.asarray(binary, np.uint8), spurs=width * height > grey_size(pixels))
    return np.repeat(np.asarray(binary, pixels.dtype)[..., None], 3, axis=2)


def as_bytes(pixels: NDArray[Any]) -> Pixels:
    """Whole numbers in 0..255 as bytes."""
    return np.asarray(pixels, np.uint8)


def grey_size(pixels: NDArray[Any]) -> int:
    """The number of pixels of [H, W, ...]."""
    return int(pixels.shape[0] * pixels.shape[1])


def way(pixels: NDArray[Any], width: int, height: int) -> int:
    """OpenCV's interpolation for resizing a map [H, W, 3] to a size in pixels."""
    if 2 < count_colours(as_bytes(pixels), FEW_COLOURS) < FEW_COLOURS:
        return cv2.INTER_NEAREST
    return cv2.INTER_AREA if width * height < grey_size(pixels) else cv2.INTER_CUBIC


def has_lines(pixels: NDArray[Any]) -> bool:
    """Whether more than half of the white values vanish under a 3 x 3 opening."""
    opened = cv2.dilate(cv2.erode(pixels, _CORNER), _CORNER)
    return bool((opened < pixels).sum() * 2 > (pixels > 127).sum())


def _maxima(grey: Pixels) -> Pixels:
    """The values that are the largest of three along a line, zero elsewhere."""
    kept = np.zeros_like(grey)
    for line in _LINES:
        largest = cv2.dilate(grey, kernel=np.array(line, np.uint8)) == grey
        kept[largest] = grey[largest]
    return kept


def thinned(binary: Pixels, *, spurs: bool) -> Pixels:
    """Strokes of 255 on 0 [H, W] reduced to a width of one pixel; with `spurs`, ends lose a pixel, too."""
    current = binary.copy()
    for _ in range(MOST_PASSES):
        if not _remove(current, _EDGES):
            break
    if spurs:
        _remove(current, _SPURS)
    return current


def _remove(binary: Pixels, patterns: Sequence[Any]) -> bool:
    """Remove the middle of each pattern in place, one pattern after another; whether any was removed."""
    changed = False
    for turns in range(4):
        for pattern in patterns:
            kernel = np.ascontiguousarray(np.rot90(np.array(pattern, np.int32), turns))
            found = cv2.morphologyEx(binary, cv2.MORPH_HITMISS, kernel) > 127
            binary[found] = 0
            changed |= bool(found.any())
    return changed
