"""recolor: replaces the lightness of the finished picture by that of the unit's picture.

It works as `recolor_luminance` and `recolor_intensity` in sd-webui-controlnet 1.1.235.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from PIL import Image

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.controlnet_map import map_of
from lib_ctrlgen.controls.holes import fitted
from lib_ctrlgen.images.composite import LightSpace, lightness, pixels_of, with_lightness

# The spaces in which sd-webui-controlnet replaces the lightness, with hues of 180 steps.
COARSE: Mapping[LightSpace, LightSpace] = MappingProxyType(
    {"luminance": "luminance", "intensity": "intensity of 180 hues"}
)


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
        if self.job.unit.semantics is not None:
            light = np.asarray(map_of(self.job, *picture.size))[..., 0]
            return Image.fromarray(with_lightness(pixels_of(picture), light, COARSE[self.space]))
        original = fitted(self.job, self.job.picture, *picture.size)
        light = lightness(pixels_of(original), self.space, self.gamma)
        return Image.fromarray(with_lightness(pixels_of(picture), light, self.space))


class RecolorLuminance(Recolor):
    """Keeps L of CIE L*a*b*."""

    space: ClassVar[LightSpace] = "luminance"


class RecolorIntensity(Recolor):
    """Keeps V of HSV."""

    space: ClassVar[LightSpace] = "intensity"
