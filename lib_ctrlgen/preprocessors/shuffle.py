"""The picture warped at random, which keeps colours and textures and loses the layout."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Preprocessor

PERIODS = 2  # of the noise along the short side: 256 pixels of 512, as in the Shuffle ControlNet's training


class Shuffle(Preprocessor):
    """Warps a picture by two fields of smooth noise, for the Shuffle ControlNet."""

    name: ClassVar[str] = "shuffle"
    title: ClassVar[str] = "Content shuffle"
    detects: ClassVar[bool] = False
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="seed",
            label="Seed of the warp",
            kind="int",
            default=0,
            minimum=0,
            maximum=2**32 - 1,
            step=1,
        ),
    )

    def __call__(self, image: Image.Image, seed: int = 0, **params: Any) -> Image.Image:
        """Return an RGB picture whose pixel (x, y) is taken from the places that two noise fields name.

        The formula is that of the content shuffle in Zhang's ControlNet 1.1. The noise has its own generator.
        """
        del params
        pixels = np.asarray(image.convert("RGB"))
        height, width = pixels.shape[:2]
        generator = np.random.default_rng(seed)
        across = _smooth_noise(generator, height, width) * (width - 1)
        down = _smooth_noise(generator, height, width) * (height - 1)
        return Image.fromarray(np.asarray(cv2.remap(pixels, across, down, cv2.INTER_LINEAR)))


def _smooth_noise(generator: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Noise [height, width] of PERIODS along the short side, scaled to 0..1."""
    period = max(1, min(height, width) // PERIODS)
    coarse = generator.random((height // period + 2, width // period + 2), np.float32)
    size = width + 2 * period, height + 2 * period
    fine = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)
    fine = fine[period : period + height, period : period + width]
    span = float(fine.max() - fine.min())
    return np.asarray((fine - fine.min()) / (span or 1.0), np.float32)
