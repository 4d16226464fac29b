"""Converts grey pictures of more than eight bits, such as depth maps, to brightness in 0..1.

- 16-bit integers: 0 is black, 65535 is white.
- Floats from 0 to 1 are taken as they are.
- Other floats, and 32-bit integers: the smallest value is black, the largest is white.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.errors import RequestError

ROUNDING = 1e-3  # floats that leave 0..1 by up to this much are clipped


def grey_of(image: Image.Image, white: int | None, *, unsigned: bool) -> Image.Image:
    """Convert a deep picture to Pillow's mode F, brightness in 0..1, or to RGB where 8 bits hold it exactly.

    `white` is the value of white; None means the rules above. With `unsigned`, its 32-bit integers, which
    Pillow reads as signed ones, are unsigned. Raises RequestError for values that are not finite.
    """
    values = np.asarray(image)
    if unsigned and values.dtype == np.int32:
        values = values.view(np.uint32)
    return grey_picture(brightness(values, white))


def brightness(values: NDArray[Any], white: int | None) -> NDArray[np.float32]:
    """Scale values [H, W] to brightness in 0..1, by the rules above.

    Raises RequestError if some are not finite.
    """
    exact = values.astype(np.float64)
    wrong = int(exact.size - np.isfinite(exact).sum())
    if wrong:
        raise RequestError(
            "", f"{wrong} of its {exact.size} values are not numbers (NaN or infinite): fill them first"
        )
    if white is not None:
        return (exact / white).astype(np.float32)
    low, high = float(exact.min()), float(exact.max())
    if values.dtype.kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        return exact.clip(0, 1).astype(np.float32)
    if low == high:
        return np.full(values.shape, float(low != 0), np.float32)
    return ((exact - low) / (high - low)).astype(np.float32)


def grey_picture(bright: NDArray[np.float32]) -> Image.Image:
    """Make a picture of brightness [H, W]: RGB where 8 bits hold it exactly, else Pillow's mode F."""
    levels = bright * np.float32(255)
    rounded = levels.round()
    if np.abs(levels - rounded).max() > ROUNDING:
        return Image.fromarray(bright)
    return Image.fromarray(rounded.astype(np.uint8)).convert("RGB")
