"""Scribbles by a difference of Gaussians."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison, Preprocessor

FINE, COARSE = 0.5, 5.0  # sigmas of the two Gaussians in pixels


class ScribbleXDoG(Preprocessor):
    """White strokes where a picture is darker than its surroundings."""

    name: ClassVar[str] = "scribble_xdog"
    title: ClassVar[str] = "Scribble by XDoG"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="threshold",
            label="XDoG threshold: a higher one leaves fewer strokes",
            kind="int",
            default=32,
            minimum=1,
            maximum=64,
            step=1,
        ),
    )
    union_type: ClassVar[str] = "scribble"
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, threshold: int = 32, **params: Any) -> Image.Image:
        """Return white where twice the difference of Gaussians of an RGB picture is above `threshold`.

        The difference is the smallest channel of the coarse minus the fine Gaussian (after Winnemoeller,
        Kyprianidis and Olsen 2012, XDoG; the formula of `scribble_xdog` in sd-webui-controlnet).
        """
        del params
        pixels = np.asarray(image.convert("RGB"), np.float32)
        fine, coarse = (np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma)) for sigma in (FINE, COARSE))
        ground = (255 - (coarse - fine).min(axis=2)).clip(0, 255).astype(np.uint8)
        strokes = 2 * (255 - ground.astype(np.int32)) > threshold
        return Image.fromarray(np.where(strokes, 255, 0).astype(np.uint8)).convert("RGB")
