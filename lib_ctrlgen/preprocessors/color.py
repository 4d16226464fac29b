"""A coarse grid of a picture's colours, the control map of T2I-Adapter's colour network (Mou et al. 2023)."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from .base import Preprocessor

CELL = 64


class ColorGrid(Preprocessor):
    """One colour for each 64 x 64 pixels: shrunk by cubic interpolation, enlarged by nearest neighbour."""

    name: ClassVar[str] = "color"
    title: ClassVar[str] = "Colour grid"
    detects: ClassVar[bool] = False

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the grid of an RGB picture. If 64 does not divide a side, its cells are a little larger."""
        del params
        width, height = image.size
        cells = max(1, width // CELL), max(1, height // CELL)
        small = cv2.resize(np.array(image.convert("RGB")), cells, interpolation=cv2.INTER_CUBIC)
        return Image.fromarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))
