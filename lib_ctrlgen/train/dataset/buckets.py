"""Sizes of equal area but different aspect ratios, and how a picture is scaled and cropped to one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.resize import smooth, soft

STEP = 64  # pixels; sizes are multiples of it, or of 8 for small resolutions
WIDEST = 2.0  # the largest aspect ratio that is kept; the rest is cropped


@dataclass(frozen=True)
class Framing:
    """A picture's original size, the size that it is scaled to, and the crop of it, in pixels."""

    original: tuple[int, int]
    scaled: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """SDXL's numbers: original height and width, crop top and left, target height and width."""
        width, height = self.original
        return (height, width, self.top, self.left, self.height, self.width)

    def picture(self, picture: Image.Image) -> Image.Image:
        """The picture, scaled and cropped."""
        return Image.fromarray(self._cut(smooth(np.asarray(picture), *self.scaled)))

    def mask(self, mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """A mask [H, W], scaled and cropped."""
        return np.asarray(self._cut(soft(mask, *self.scaled)), np.float32)

    def _cut(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def framing(width: int, height: int, resolution: int, *, buckets: bool) -> Framing:
    """How a picture is scaled and cropped, from its middle, to the nearest size of about resolution² pixels.

    >>> shown = framing(1000, 800, 512, buckets=True)
    >>> (shown.width, shown.height), shown.scaled
    ((576, 448), (576, 461))
    """
    wide, high = bucket(width / height, resolution) if buckets else (resolution, resolution)
    factor = max(wide / width, high / height)
    scaled = max(wide, round(width * factor)), max(high, round(height * factor))
    return Framing((width, height), scaled, (scaled[0] - wide) // 2, (scaled[1] - high) // 2, wide, high)


def bucket(aspect: float, resolution: int) -> tuple[int, int]:
    """The width and height of about resolution² pixels nearest to an aspect ratio (width / height)."""
    step = STEP if resolution >= 512 else 8
    held = min(WIDEST, max(1 / WIDEST, aspect))
    width = max(step, round(resolution * math.sqrt(held) / step) * step)
    height = max(step, round(resolution**2 / width / step) * step)
    return width, height
