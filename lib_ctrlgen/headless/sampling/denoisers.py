"""The functions that samplers call: the guided U-Net for latents at a noise level."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .guidance import GuidedUNet
from .noise_levels import LcmLevels, NoiseLevels

SIGMA_DATA = 0.5  # the constant of latent consistency models' boundary condition
LCM_TIME_SCALE = 10.0


def per_row(values: Tensor) -> Tensor:
    """Reshape [B] to [B, 1, 1, 1]."""
    return values.reshape(-1, 1, 1, 1)


@dataclass
class SigmaDenoiser:
    """Predicts the clean latents from x = clean + sigma * noise (Karras et al. 2022).

    velocity: the U-Net predicts v instead of the noise, here and in the other classes.
    """

    unet: GuidedUNet
    levels: NoiseLevels
    velocity: bool

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean latents for x [B, 4, h, w] at sigma [B]."""
        self.unet.begin(x)
        level = per_row(sigma)
        scale = (level**2 + 1).rsqrt()
        output = self.unet(x * scale, self.levels.timestep(sigma)).guided
        if self.velocity:
            return x * scale**2 - level * scale * output
        return x - level * output


@dataclass
class LcmDenoiser:
    """The consistency function of a latent consistency model (Luo et al. 2023)."""

    unet: GuidedUNet
    levels: LcmLevels
    velocity: bool

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean latents of x [B, 4, h, w] at sigma [B]."""
        clean = SigmaDenoiser(self.unet, self.levels, self.velocity)(x, sigma)
        time = per_row(self.levels.timestep(sigma)) * LCM_TIME_SCALE
        power = time**2 + SIGMA_DATA**2
        return time / power.sqrt() * clean + SIGMA_DATA**2 / power * x


@dataclass
class TimestepDenoiser:
    """Predicts the noise from x = sqrt(abar) clean + sqrt(1 - abar) noise (Ho, Jain and Abbeel 2020).

    `uncond` is the unconditional prediction of the last call.
    """

    unet: GuidedUNet
    alphas_cumprod: Tensor
    velocity: bool
    uncond: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        """The guided noise of x [B, 4, h, w] at timesteps [B]."""
        self.unet.begin(x)
        found = self.unet(x, timestep)
        self.uncond = self._noise(x, timestep, found.uncond)
        return self._noise(x, timestep, found.guided)

    def _noise(self, x: Tensor, timestep: Tensor, output: Tensor) -> Tensor:
        if not self.velocity:
            return output
        alpha = per_row(self.alphas_cumprod.to(x.device)[timestep.int()])
        return alpha.sqrt() * output + (1 - alpha).sqrt() * x
