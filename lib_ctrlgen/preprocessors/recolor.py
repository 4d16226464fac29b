"""The lightness of a picture as a grey control map, for networks that colour grey pictures."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
from PIL import Image

from lib_ctrlgen.images.composite import LightSpace, lightness, pixels_of
from lib_ctrlgen.request.params import Param

from .base import Preprocessor


class RecolorLuminance(Preprocessor):
    """L of CIE L*a*b*. The finished picture gets the same lightness."""

    name: ClassVar[str] = "recolor_luminance"
    title: ClassVar[str] = "Recolour, keeping the luminance"
    detects: ClassVar[bool] = False
    after_unet: ClassVar[str] = "lib_ctrlgen.controls.postprocess.recolor:RecolorLuminance"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="gamma",
            label="Gamma correction",
            kind="float",
            default=1.0,
            minimum=0.1,
            maximum=2.0,
            step=0.01,
        ),
    )
    space: ClassVar[LightSpace] = "luminance"

    def __call__(self, image: Image.Image, gamma: float = 1.0, **params: Any) -> Image.Image:
        """Return the lightness of an RGB picture, to the power of `gamma`."""
        del params
        light = lightness(pixels_of(image), self.space, gamma)
        return Image.fromarray(cv2.cvtColor(light, cv2.COLOR_GRAY2RGB))


class RecolorIntensity(RecolorLuminance):
    """V of HSV, the strongest of the three channels. The finished picture gets the same V."""

    name: ClassVar[str] = "recolor_intensity"
    title: ClassVar[str] = "Recolour, keeping the intensity"
    after_unet: ClassVar[str] = "lib_ctrlgen.controls.postprocess.recolor:RecolorIntensity"
    space: ClassVar[LightSpace] = "intensity"
