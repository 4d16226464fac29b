"""Resizes control maps, pictures and masks.

Control maps follow the rules of sd-webui-controlnet: maps of few colours (segmentations) are resized by
nearest neighbour, others by area averaging if they shrink, else by cubic interpolation. A black and white map
stays black and white (threshold of Otsu 1979), and its lines stay one pixel wide (thinning of Zhang and Suen
1984). Its suppression of non-maxima before thinning is left out, because it leaves spurs on slanted lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.request.unit import ResizeMode

from .codec import to_rgb

Pixels = NDArray[np.uint8]
# A function that resizes an array [H, W] or [H, W, C] to a width and a height.
Resize: TypeAlias = Callable[[Any, int, int], Any]


def resample(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize a control map [H, W, 3] to [height, width, 3] by the rules above."""
    if pixels.shape[:2] == (height, width):
        return pixels
    colours = count_colours(pixels, 200)
    if 2 < colours < 200:
        return _resize(pixels, width, height, cv2.INTER_NEAREST)
    resized = smooth(pixels, width, height)
    if colours == 2 and pixels.min() < 16 and pixels.max() > 240:
        return _binary(resized, thin_lines=has_thin_lines(pixels))
    return resized


def resample_grey(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize a grey control map [H, W] of more than 8 bits, brightness in 0..1, by the rules above."""
    few = len(np.unique(values[:: max(1, values.shape[0] // 64)])) < 200
    if few and 2 < len(np.unique(values)) < 200:
        return np.asarray(_resize(values, width, height, cv2.INTER_NEAREST))
    return np.asarray(smooth(values, width, height)).clip(0, 1)


def smooth(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize a picture [H, W, ...]: by area averaging if it shrinks, else by cubic interpolation."""
    return _resize(pixels, width, height, _finer(pixels, width, height, cv2.INTER_CUBIC))


def soft(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize a mask [H, W]: by area averaging if it shrinks, else linearly.

    Both are linear in the values, so masks that sum to 1 still sum to 1.
    """
    return np.asarray(_resize(values, width, height, _finer(values, width, height, cv2.INTER_LINEAR)))


def _finer(pixels: NDArray[Any], width: int, height: int, growing: int) -> int:
    """OpenCV's interpolation for a new size: by area if it has fewer pixels, else `growing`."""
    return cv2.INTER_AREA if width * height < pixels.shape[0] * pixels.shape[1] else growing


def _resize(pixels: NDArray[Any], width: int, height: int, interpolation: int) -> NDArray[Any]:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), pixels.dtype)


def count_colours(pixels: Pixels, limit: int) -> int:
    """The number of different colours in [H, W, 3], at most `limit`."""
    packed = pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    few = np.unique(packed[:: max(1, packed.shape[0] // 64)])
    return min(limit, len(few) if len(few) >= limit else len(np.unique(packed)))


def border_colour(pixels: NDArray[Any]) -> NDArray[Any]:
    """The median colour of the outermost pixels of [H, W, ...]."""
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.asarray(np.median(np.concatenate(edges), axis=0)).astype(pixels.dtype)


def has_thin_lines(pixels: Pixels) -> bool:
    """Whether more than half of the white pixels vanish under a 3 x 3 opening."""
    white = pixels[..., 0] > 127
    opened = cv2.morphologyEx(white.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return bool((white & (opened == 0)).sum() * 2 > white.sum())


def _binary(resized: Pixels, *, thin_lines: bool) -> Pixels:
    grey = resized.mean(axis=2).astype(np.uint8)
    _, binary = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if thin_lines:
        binary = thin(np.asarray(binary) > 0).astype(np.uint8) * 255
    return np.repeat(np.asarray(binary, np.uint8)[..., None], 3, axis=2)


def thin(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Reduce strokes [H, W] to a width of one pixel without breaking them (Zhang and Suen 1984)."""
    current = lines.astype(np.uint8)
    passes = [(~_removable(second=second)).astype(np.uint8) for second in (False, True)]
    while True:
        before = cv2.countNonZero(current)
        for kept in passes:
            ring = cv2.filter2D(current, -1, _RING, borderType=cv2.BORDER_CONSTANT)
            cv2.bitwise_and(current, cv2.LUT(ring, kept), dst=current)
        if cv2.countNonZero(current) == before:
            return current.astype(np.bool_)


# One bit per neighbour, clockwise from the north.
_RING = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.uint8)


def _removable(*, second: bool) -> NDArray[np.bool_]:
    """For each of the 256 possible neighbourhoods, whether a sub-iteration deletes the pixel."""
    ring = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    ring = ring.astype(np.bool_)
    count = ring.sum(axis=1)
    crossings = (~ring & np.roll(ring, -1, axis=1)).sum(axis=1)
    north, east, south, west = ring[:, 0::2].T
    if second:
        edge = ~(north & east & west) & ~(north & south & west)
    else:
        edge = ~(north & east & south) & ~(east & south & west)
    return np.asarray((count >= 2) & (count <= 6) & (crossings == 1) & edge, np.bool_)


def fit(image: Image.Image, width: int, height: int, resize_mode: ResizeMode) -> Image.Image:
    """Fit a control map to `width` x `height` pixels with `resample`; RGB."""
    return Image.fromarray(fit_pixels(np.asarray(to_rgb(image)), width, height, resize_mode, resample))


def fit_pixels(
    pixels: NDArray[Any], width: int, height: int, resize_mode: ResizeMode, resize: Resize
) -> NDArray[Any]:
    """Fit [H, W, ...] to [height, width, ...] by a resize mode, resizing with `resize`.

    `just_resize` stretches. `crop_and_resize` covers the target and crops the centre.
    `resize_and_fill` fits inside and fills with the median colour of the border.
    """
    if resize_mode == "just_resize":
        return np.asarray(resize(pixels, width, height))
    _, _, across, down = placed((pixels.shape[1], pixels.shape[0]), width, height, resize_mode)
    resized = resize(pixels, across, down)
    canvas = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    canvas[:] = border_colour(pixels)
    _paste_centre(canvas, resized)
    return canvas


def placed(
    size: tuple[int, int], width: int, height: int, resize_mode: ResizeMode
) -> tuple[int, int, int, int]:
    """Where `fit_pixels` puts a picture of `size` (width, height): left, top, width and height in pixels.

    >>> placed((100, 50), 80, 80, "crop_and_resize")
    (-40, 0, 160, 80)
    """
    if resize_mode == "just_resize":
        return 0, 0, width, height
    scales = width / size[0], height / size[1]
    scale = max(scales) if resize_mode == "crop_and_resize" else min(scales)
    across, down = _scaled(size[0], scale), _scaled(size[1], scale)
    (to_x, from_x, _), (to_y, from_y, _) = _overlap(width, across), _overlap(height, down)
    return to_x - from_x, to_y - from_y, across, down


def filled(size: tuple[int, int], width: int, height: int) -> Image.Image:
    """An RGB mask, white where `resize_and_fill` adds a border to a picture of `size` (width, height)."""
    scale = min(width / size[0], height / size[1])
    canvas = np.full((height, width, 3), 255, np.uint8)
    _paste_centre(canvas, np.zeros((_scaled(size[1], scale), _scaled(size[0], scale), 3), np.uint8))
    return Image.fromarray(canvas)


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _paste_centre(canvas: NDArray[Any], picture: NDArray[Any]) -> None:
    """Copy `picture` onto the centre of `canvas`, cropped where it is larger."""
    to_y, from_y, rows = _overlap(canvas.shape[0], picture.shape[0])
    to_x, from_x, columns = _overlap(canvas.shape[1], picture.shape[1])
    part = picture[from_y : from_y + rows, from_x : from_x + columns]
    canvas[to_y : to_y + rows, to_x : to_x + columns] = part


def _overlap(outer: int, inner: int) -> tuple[int, int, int]:
    """The overlap of two centred intervals: its start in the outer one, in the inner one, and its length."""
    return max(0, (outer - inner) // 2), max(0, (inner - outer) // 2), min(outer, inner)
