"""The dark lines of a drawing or a photograph, in white on black."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .base import Comparison, Preprocessor

SIGMA = 6.0  # pixels: what is darker than its surroundings of this size is a line
FAINT = 8.0  # grey levels: fainter lines do not count for the brightness of the others
LEAST, MEDIAN = 16.0, 127.0  # the median line gets MEDIAN, but lines below LEAST are not amplified to it


class LineartStandard(Preprocessor):
    """Finds what is darker than its surroundings; a formula without a network."""

    name: ClassVar[str] = "lineart_standard"
    title: ClassVar[str] = "Line art of dark lines on a light ground"
    union_type: ClassVar[str] = "lineart"
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return how much darker than its blurred surroundings each pixel of an RGB picture is.

        The formula is that of `lineart_standard` in sd-webui-controlnet: the smallest channel of blurred
        minus sharp, scaled so that the median of all lines becomes grey 127.
        """
        del params
        return Image.fromarray(dark_lines(np.array(image.convert("RGB")), SIGMA, FAINT)).convert("RGB")


def dark_lines(pixels: NDArray[np.uint8], sigma: float, faint: float) -> NDArray[np.uint8]:
    """How much darker than its surroundings (`sigma` pixels) each of pixels [H, W, 3] is, in grey levels.

    Lines of at most `faint` grey levels do not count for the median line, which gets `MEDIAN`.
    """
    values = pixels.astype(np.float32)
    darker = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma) - values).min(axis=2).clip(0, 255)
    lines = darker[darker > faint]
    usual = max(LEAST, float(np.median(lines))) if lines.size else LEAST
    return np.asarray((darker / usual * MEDIAN).clip(0, 255), np.uint8)
