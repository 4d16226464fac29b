"""inpaint_only: only the picture's holes are painted.

It works as `inpaint_only` in sd-webui-controlnet 1.1.222 and `inpaint_only+lama` in 1.1.233.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.images.composite import hole_share, mixed, pixels_of
from lib_ctrlgen.unet.call import LATENT_FACTOR, UNetCall
from lib_ctrlgen.unet.noise_level import NoiseSchedule

from .lama import find_lama
from .source import Source


@dataclass(frozen=True, kw_only=True, eq=False)
class InpaintOnly:
    """Outside the holes, restores the unit's picture: its latent at each step, its pixels at the end.

    `border` is the width in pixels around a hole in which the finished picture is blended with the original.
    """

    source: Source
    border: int

    @staticmethod
    def of(job: UnitInputs, target: Target) -> InpaintOnly:
        """The control of a unit whose picture has a hole."""
        return InpaintOnly(source=Source.of(job, target), border=int(job.params["border"]))

    @property
    def restores(self) -> bool:
        """True: outside the holes, the latent is the picture's."""
        return True

    def noise(self) -> NoiseSchedule:
        """The checkpoint's noise schedule."""
        return self.source.diffusion.noise()

    def prepare(self, height: int, width: int) -> None:
        """Encode the picture, and find its holes, for a latent of this size."""
        self.cells(height, width)
        self.source.latent(height, width)

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """The predicted latent in the holes, and the picture's latent elsewhere."""
        hole = self.cells(*call.size).to(denoised.device)
        return torch.where(hole, denoised, self.source.latent(*call.size).to(denoised))

    def cells(self, height: int, width: int) -> Tensor:
        """Whether a hole reaches into a latent cell or within a pixel of it, [1, 1, h, w]."""
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def found() -> Tensor:
            holes = torch.from_numpy(self.source.holes(*size))[None, None].float()
            return functional.max_pool2d(holes, LATENT_FACTOR + 2, stride=LATENT_FACTOR, padding=1) > 0

        cells: Tensor = self.source.kept(("cells", *self.source.key(*size)), found)
        return cells

    def finished(self, picture: Image.Image) -> Image.Image:
        """The finished picture in the holes and the original outside, blended within `border` pixels."""
        holes = self.source.holes(*picture.size)
        share = hole_share(holes, self.border, even=self.source.job.unit.semantics is not None)
        original = self.source.exact(*picture.size)
        return Image.fromarray(mixed(pixels_of(picture), original, share))


@dataclass(frozen=True, kw_only=True, eq=False)
class LamaInpaint(InpaintOnly):
    """`InpaintOnly` with the holes filled by LaMa, in the picture's latent and in the initial noise."""

    @staticmethod
    def of(job: UnitInputs, target: Target) -> LamaInpaint:
        """The control of a unit whose picture has a hole. Raises RequestError if there is no LaMa file."""
        filler = find_lama(target, f"{job.path}.preprocessor")
        return LamaInpaint(source=Source.of(job, target, filler), border=int(job.params["border"]))

    def changed_noise(self, noise: Tensor) -> Tensor:
        """The filled picture under noise of the checkpoint's highest level, made from `noise`."""
        height, width = noise.shape[-2:]
        level = self.noise().noisiest
        clean = self.source.latent(int(height), int(width))
        return level.noised(clean.to(level.signal), noise.to(level.signal)).to(noise)
