"""Contrast-adaptive sharpening (AMD FidelityFX CAS, 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def sharpened(picture: Image.Image, amount: float) -> Image.Image:
    """An RGB picture, sharpened least where contrast is high already. `amount`: 0 (unchanged) to 1."""
    if amount == 0:
        return picture
    values = np.asarray(picture, np.float32) / 255.0
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = values.shape[:2]
    around = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    found = (sharper(around, amount) * 255.0).round().astype(np.uint8)
    return Image.fromarray(found)


def sharper(around: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """The sharpened value of each pixel, from it and its eight neighbours [9, H, W, C] in rows, in 0..1."""
    cross = around[[1, 3, 4, 5, 7]]
    low = cross.min(0) + around.min(0)
    high = cross.max(0) + around.max(0)
    room = np.minimum(low, 2.0 - high) / np.maximum(high, 1e-6)
    weight = -np.sqrt(room.clip(0, 1)) / (8.0 - 3.0 * amount)
    sides = around[[1, 3, 5, 7]].sum(0)
    found: NDArray[np.float32] = ((sides * weight + around[4]) / (1.0 + 4.0 * weight)).clip(0, 1)
    return found
