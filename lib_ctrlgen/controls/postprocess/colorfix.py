"""tile_colorfix: the picture's colours in what the U-Net predicts, from coarse to `variation` cells.

After sd-webui-controlnet 1.1.200, `tile_colorfix` and `tile_colorfix+sharp`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.noise_level import NoiseSchedule

from .source import Source

SHARPNESS = 0.01  # of the unit's number, which runs from 0 to 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ColorFix:
    """Replaces the means over (2 variation + 1)^2 latent cells by the picture's.

    `sharpness`: how much of these means is taken for the whole on unconditional rows, from which guidance
    leads away. In the hires pass the cells count twice.
    """

    source: Source
    variation: int
    sharpness: float

    @staticmethod
    def of(job: UnitInputs, target: Target) -> ColorFix:
        """The control of a unit."""
        sharpness = SHARPNESS * float(job.params.get("sharpness", 0.0))
        variation = int(job.params["variation"])
        return ColorFix(source=Source.of(job, target), variation=variation, sharpness=sharpness)

    @property
    def restores(self) -> bool:
        """It only shifts colours."""
        return False

    def noise(self) -> NoiseSchedule:
        """The checkpoint's."""
        return self.source.diffusion.noise()

    def prepare(self, height: int, width: int) -> None:
        """Encode the picture."""
        self.source.latent(height, width)

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """The latent with the picture's colours."""
        reach = self.variation * (2 if call.position.hires else 1)
        origin = self.source.latent(*call.size).to(denoised)
        fixed = denoised - means(denoised, reach) + means(origin, reach)
        if not self.sharpness:
            return fixed
        dull = torch.lerp(fixed, means(fixed, reach), self.sharpness)
        cond = torch.tensor(call.position.rows.cond, device=fixed.device).reshape(-1, 1, 1, 1)
        return torch.where(cond, fixed, dull)


def means(latent: Tensor, reach: int) -> Tensor:
    """The mean of [B, C, h, w] over the squares that go `reach` cells in each direction.

    At a border its last cells count on.
    """
    wide = functional.pad(latent, (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(wide, 2 * reach + 1, stride=1)
