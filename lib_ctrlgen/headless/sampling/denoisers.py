"""A guided U-Net as the function that a sampler calls: of latents and a noise level."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .guidance import GuidedUNet
from .noise_levels import LcmLevels, NoiseLevels

SIGMA_DATA = 0.5  # of latent consistency models
LCM_TIME_SCALE = 10.0


def wide(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values.reshape(-1, 1, 1, 1)


@dataclass
class SigmaDenoiser:
    """x = clean + sigma * noise, to the clean latent (Karras et al. 2022).

    `velocity` says that the U-Net predicts v instead of the noise, here and in the others.
    """

    unet: GuidedUNet
    levels: NoiseLevels
    velocity: bool

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean latents of x [B, 4, h, w] at sigma [B]."""
        self.unet.begin(x)
        level = wide(sigma)
        scale = (level**2 + 1).rsqrt()
        output = self.unet(x * scale, self.levels.timestep(sigma)).guided
        if self.velocity:
            return x * scale**2 - level * scale * output
        return x - level * output


@dataclass
class LcmDenoiser:
    """The consistency function of a latent consistency model (Luo et al. 2023), which predicts noise."""

    unet: GuidedUNet
    levels: LcmLevels
    velocity: bool

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean latents of x [B, 4, h, w] at sigma [B]."""
        clean = SigmaDenoiser(self.unet, self.levels, self.velocity)(x, sigma)
        time = wide(self.levels.timestep(sigma)) * LCM_TIME_SCALE
        power = time**2 + SIGMA_DATA**2
        return time / power.sqrt() * clean + SIGMA_DATA**2 / power * x


@dataclass
class TimestepDenoiser:
    """x = sqrt(abar) clean + sqrt(1 - abar) noise, to the noise (Ho, Jain and Abbeel 2020).

    `uncond` is the noise that the last call found without the prompt.
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
        alpha = wide(self.alphas_cumprod.to(x.device)[timestep.int()])
        return alpha.sqrt() * output + (1 - alpha).sqrt() * x
