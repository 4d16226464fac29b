"""Edges, by the detector of Canny 1986, A Computational Approach to Edge Detection."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison, Preprocessor


class Canny(Preprocessor):
    """White edges on black, one pixel wide."""

    name: ClassVar[str] = "canny"
    title: ClassVar[str] = "Canny edges"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="low_threshold",
            label="Canny low threshold",
            kind="int",
            default=100,
            minimum=1,
            maximum=255,
            step=1,
        ),
        Param(
            name="high_threshold",
            label="Canny high threshold",
            kind="int",
            default=200,
            minimum=1,
            maximum=255,
            step=1,
        ),
    )
    union_type: ClassVar[str] = "canny"
    compared: ClassVar[Comparison | None] = "edges"

    def __call__(
        self,
        image: Image.Image,
        low_threshold: int = 100,
        high_threshold: int = 200,
        **params: Any,
    ) -> Image.Image:
        """Return the edges of an RGB picture; each pixel uses the channel with the strongest gradient."""
        del params
        edges = cv2.Canny(np.array(image.convert("RGB")), low_threshold, high_threshold)
        return Image.fromarray(np.asarray(edges, np.uint8)).convert("RGB")
