"""Black and white by a threshold, for drawings and masks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison, Preprocessor


class Threshold(Preprocessor):
    """White where every channel is above the threshold, else black."""

    name: ClassVar[str] = "threshold"
    title: ClassVar[str] = "Threshold"
    detects: ClassVar[bool] = False
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="threshold",
            label="Binarization threshold",
            kind="int",
            default=127,
            minimum=0,
            maximum=255,
            step=1,
        ),
    )
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, threshold: int = 127, **params: Any) -> Image.Image:
        """Return white where the smallest channel of an RGB picture is above `threshold`, black elsewhere."""
        del params
        darkest = np.asarray(image.convert("RGB")).min(axis=2)
        return Image.fromarray(np.where(darkest > threshold, 255, 0).astype(np.uint8)).convert("RGB")
