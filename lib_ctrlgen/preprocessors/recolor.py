"""The lightness of a picture as a grey map, for recolouring."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
from PIL import Image

from lib_ctrlgen.images.composite import LightSpace, lightness, pixels_of
from lib_ctrlgen.request.params import Param

from .none import NoPreprocessor


class RecolorLuminance(NoPreprocessor):
    """L of CIE L*a*b*; the finished picture gets it, too (`lib_ctrlgen.controls.postprocess.recolor`)."""

    name: ClassVar[str] = "recolor_luminance"
    title: ClassVar[str] = "Recolour, keeping the luminance"
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
    """V of HSV: the strongest of the three channels."""

    name: ClassVar[str] = "recolor_intensity"
    title: ClassVar[str] = "Recolour, keeping the intensity"
    space: ClassVar[LightSpace] = "intensity"
