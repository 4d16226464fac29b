"""The colours of a picture without its shapes, as T2I-Adapter's colour network was taught them."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison

CELL = 64


class ColorGrid:
    """One colour for each 64 x 64 pixels: shrunk by cubic interpolation, grown to the nearest."""

    name: ClassVar[str] = "color"
    title: ClassVar[str] = "Colour grid"
    params: ClassVar[tuple[Param, ...]] = ()
    compared: ClassVar[Comparison | None] = None

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the grid of an RGB picture, which keeps its size; a last part of a cell joins another."""
        del params
        width, height = image.size
        cells = max(1, width // CELL), max(1, height // CELL)
        small = cv2.resize(np.array(image.convert("RGB")), cells, interpolation=cv2.INTER_CUBIC)
        return Image.fromarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))
