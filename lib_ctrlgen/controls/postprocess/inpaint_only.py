"""inpaint_only: nothing but the picture's holes is painted.

After sd-webui-controlnet 1.1.222, `inpaint_only`, and 1.1.233, `inpaint_only+lama`.
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
    """Puts the picture's latent outside the holes, and its pixels into the finished picture.

    `border` is over how many pixels around a hole the finished picture goes over into the original.
    """

    source: Source
    border: int

    @staticmethod
    def of(job: UnitInputs, target: Target) -> InpaintOnly:
        """The control of a unit whose picture has a hole."""
        return InpaintOnly(source=Source.of(job, target), border=int(job.params["border"]))

    @property
    def restores(self) -> bool:
        """What is outside the holes is to be exact."""
        return True

    def noise(self) -> NoiseSchedule:
        """The checkpoint's."""
        return self.source.diffusion.noise()

    def prepare(self, height: int, width: int) -> None:
        """Encode the picture."""
        self.cells(height, width)
        self.source.latent(height, width)

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """The latent in the holes, the picture's elsewhere."""
        hole = self.cells(*call.size).to(denoised.device)
        return torch.where(hole, denoised, self.source.latent(*call.size).to(denoised))

    def cells(self, height: int, width: int) -> Tensor:
        """The latent cells [1, 1, h, w] that a hole touches, or comes as near as a pixel to."""
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def found() -> Tensor:
            holes = torch.from_numpy(self.source.holes(*size))[None, None].float()
            return functional.max_pool2d(holes, LATENT_FACTOR + 2, stride=LATENT_FACTOR, padding=1) > 0

        cells: Tensor = self.source.kept(("cells", *self.source.key(*size)), found)
        return cells

    def finished(self, picture: Image.Image) -> Image.Image:
        """The finished picture in the holes, the original outside, exactly but for the border."""
        share = hole_share(self.source.holes(*picture.size), self.border)
        original = pixels_of(self.source.colours(*picture.size))
        return Image.fromarray(mixed(pixels_of(picture), original, share))


@dataclass(frozen=True, kw_only=True, eq=False)
class LamaInpaint(InpaintOnly):
    """The same with holes that LaMa has filled before: in the picture's latent, and in the first noise."""

    @staticmethod
    def of(job: UnitInputs, target: Target) -> LamaInpaint:
        """The control of a unit whose picture has a hole. Raises RequestError without LaMa."""
        filler = find_lama(target, f"{job.path}.preprocessor")
        return LamaInpaint(source=Source.of(job, target, filler), border=int(job.params["border"]))

    def changed_noise(self, noise: Tensor) -> Tensor:
        """The noise at the checkpoint's highest level with the filled picture under it."""
        height, width = noise.shape[-2:]
        level = self.noise().noisiest
        clean = self.source.latent(int(height), int(width))
        return level.noised(clean.to(level.signal), noise.to(level.signal)).to(noise)
