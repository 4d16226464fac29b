"""The dark lines of a drawing or a photograph, in white on black."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
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
        pixels = np.asarray(image.convert("RGB"), np.float32)
        darker = np.asarray(cv2.GaussianBlur(pixels, (0, 0), SIGMA) - pixels).min(axis=2).clip(0, 255)
        lines = darker[darker > FAINT]
        usual = max(LEAST, float(np.median(lines))) if lines.size else LEAST
        return Image.fromarray((darker / usual * MEDIAN).clip(0, 255).astype(np.uint8)).convert("RGB")
