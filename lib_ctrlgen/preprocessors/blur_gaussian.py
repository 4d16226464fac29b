"""A blurred picture, as control map of tile ControlNets that restore detail."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison, Preprocessor


class GaussianBlur(Preprocessor):
    """Blurs with a Gaussian."""

    name: ClassVar[str] = "blur_gaussian"
    title: ClassVar[str] = "Gaussian blur"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="sigma",
            label="Sigma of the blur in pixels",
            kind="float",
            default=9.0,
            minimum=0.01,
            maximum=64.0,
            step=0.01,
        ),
    )
    union_type: ClassVar[str] = "tile"
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, sigma: float = 9.0, **params: Any) -> Image.Image:
        """Return an RGB picture blurred by a Gaussian of this standard deviation in pixels."""
        del params
        return Image.fromarray(np.asarray(cv2.GaussianBlur(np.asarray(image.convert("RGB")), (0, 0), sigma)))
