"""tile_colorfix: replaces the coarse colours of the predicted latent by those of the unit's picture.

The formulas are those of `tile_colorfix` and `tile_colorfix+sharp` in sd-webui-controlnet 1.1.200.
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

SHARPNESS = 0.01  # the factor of a unit's `sharpness`, which is in 0..2


@dataclass(frozen=True, kw_only=True, eq=False)
class ColorFix:
    """Replaces the predicted latent's means over (2 variation + 1)^2 cells by those of the picture's latent.

    sharpness  how far unconditional rows are then blurred towards these means, 0..1; as guidance leads away
               from them, the picture becomes sharper

    In the hires pass `variation` is doubled.
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
        """False: it only shifts colours."""
        return False

    def noise(self) -> NoiseSchedule:
        """The checkpoint's noise schedule."""
        return self.source.diffusion.noise()

    def prepare(self, height: int, width: int) -> None:
        """Encode the picture for a latent of this size."""
        self.source.latent(height, width)

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """The predicted latent with the picture's colours."""
        reach = self.variation * (2 if call.position.hires else 1)
        origin = self.source.latent(*call.size).to(denoised)
        fixed = denoised - means(denoised, reach) + means(origin, reach)
        if not self.sharpness:
            return fixed
        dull = torch.lerp(fixed, means(fixed, reach), self.sharpness)
        cond = torch.tensor(call.position.rows.cond, device=fixed.device).reshape(-1, 1, 1, 1)
        return torch.where(cond, fixed, dull)


def means(latent: Tensor, reach: int) -> Tensor:
    """The means of [B, C, h, w] over the squares that extend `reach` cells in each direction.

    Cells of the border are repeated outside.
    """
    wide = functional.pad(latent, (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(wide, 2 * reach + 1, stride=1)
