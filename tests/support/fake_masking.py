"""The WebUI's functions for masks of 'Only masked'."""

from __future__ import annotations

from typing import Any

import numpy as np


def create_binary_mask(image: Any, round: bool = True) -> Any:  # noqa: A002 - the WebUI's name
    """White where a mask with transparency is opaque; else its brightness."""
    clear = image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)
    if not clear:
        return image.convert("L")
    alpha = image.getchannel("A")
    return alpha.point(lambda value: 255 * (value > 128)) if round else alpha


def get_crop_region(mask: Any, pad: int = 0) -> tuple[int, int, int, int] | None:
    """The box of what is not black, grown on all sides as far as the picture goes."""
    rows, columns = np.asarray(mask).any(1).nonzero()[0], np.asarray(mask).any(0).nonzero()[0]
    if not len(rows):
        return None
    low = max(0, int(columns[0]) - pad), max(0, int(rows[0]) - pad)
    high = min(mask.width, int(columns[-1]) + 1 + pad), min(mask.height, int(rows[-1]) + 1 + pad)
    return (*low, *high)


def expand_crop_region(box: Any, width: int, height: int, *whole: int) -> tuple[int, int, int, int]:
    """The box grown about its middle to the proportions of the generation, and moved into the picture."""
    spans = [[box[0], box[2]], [box[1], box[3]]]
    target = width / height
    lengths = [high - low for low, high in spans]
    axis = 1 if lengths[0] / lengths[1] > target else 0
    wanted = lengths[0] / target if axis else lengths[1] * target
    more, limit = int(wanted - lengths[axis]), whole[axis]
    low, high = spans[axis][0] - more // 2, spans[axis][1] + more - more // 2
    over = max(0, high - limit)
    low, high = low - over, high - over
    if low < 0:
        low, high = 0, high - low
    spans[axis] = [low, min(high, limit)]
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]
