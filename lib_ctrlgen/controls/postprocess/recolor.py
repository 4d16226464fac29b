"""recolor: replaces the lightness of the finished picture by that of the unit's picture.

It works as `recolor_luminance` and `recolor_intensity` in sd-webui-controlnet 1.1.235.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.holes import fitted
from lib_ctrlgen.images.composite import LightSpace, lightness, pixels_of, with_lightness


@dataclass(frozen=True, kw_only=True, eq=False)
class Recolor:
    """Gives the finished picture the lightness of the unit's picture, raised to the power `gamma` in 0..1."""

    space: ClassVar[LightSpace]
    job: UnitInputs
    gamma: float

    @classmethod
    def of(cls, job: UnitInputs, _target: Target) -> Recolor:
        """The control of a unit."""
        return cls(job=job, gamma=float(job.params["gamma"]))

    def finished(self, picture: Image.Image) -> Image.Image:
        """The picture with the lightness of the control map."""
        original = fitted(self.job, self.job.picture, *picture.size)
        light = lightness(pixels_of(original), self.space, self.gamma)
        return Image.fromarray(with_lightness(pixels_of(picture), light, self.space))


class RecolorLuminance(Recolor):
    """Keeps L of CIE L*a*b*."""

    space: ClassVar[LightSpace] = "luminance"


class RecolorIntensity(Recolor):
    """Keeps V of HSV."""

    space: ClassVar[LightSpace] = "intensity"
