"""The sigmas of a U-Net's timesteps, and of fractional timesteps, as in k-diffusion.

sigma = sqrt((1 - abar) / abar) is the noise's standard deviation relative to the clean latent (Karras et al.
2022). Between two timesteps log sigma is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LCM_STEPS = 50  # timesteps that latent consistency models are distilled with


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels of a model: `sigmas` [T], rising, of the timesteps 0, 1, ..., T - 1."""

    sigmas: Tensor

    @staticmethod
    def of(alphas_cumprod: Tensor) -> NoiseLevels:
        """The levels of `alphas_cumprod` [T]."""
        return NoiseLevels(((1 - alphas_cumprod) / alphas_cumprod) ** 0.5)

    @cached_property
    def logs(self) -> Tensor:
        """The logarithms of all sigmas [T]."""
        return self.sigmas.log()

    @property
    def lowest(self) -> float:
        """The smallest sigma."""
        return float(self.sigmas[0])

    @property
    def highest(self) -> float:
        """The largest sigma, where sampling starts."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The (fractional) timesteps of sigmas [*]."""
        logs = self.logs.to(sigma.device)
        wanted = sigma.log()
        low = (torch.searchsorted(logs, wanted.contiguous(), right=True) - 1).clamp(0, len(logs) - 2)
        share = ((wanted - logs[low]) / (logs[low + 1] - logs[low])).clamp(0, 1)
        return low + share

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigmas of (fractional) timesteps [*]."""
        place = timestep.float()
        logs = self.logs.to(place.device)
        low, high, share = place.floor().long(), place.ceil().long(), place.frac()
        return ((1 - share) * logs[low] + share * logs[high]).exp()

    def uniform(self, count: int) -> Tensor:
        """`count` sigmas at even timesteps, from the last one to the first."""
        return self.sigma(torch.linspace(len(self.sigmas) - 1, 0, count))


@dataclass(frozen=True)
class LcmLevels(NoiseLevels):
    """The levels of the 50 timesteps of a latent consistency model (Luo et al. 2023).

    They are `stride` timesteps apart and include the model's last one. Timesteps are whole numbers.
    """

    stride: int = 20

    @staticmethod
    def of(alphas_cumprod: Tensor) -> LcmLevels:
        """The levels of a model's `alphas_cumprod` [T]."""
        stride = len(alphas_cumprod) // LCM_STEPS
        return LcmLevels(NoiseLevels.of(alphas_cumprod[stride - 1 :: stride]).sigmas, stride)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep of the nearest level."""
        distances = (sigma.log()[..., None] - self.logs.to(sigma.device)).abs()
        return distances.argmin(-1) * self.stride + self.stride - 1

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigmas of the model's timesteps, of which every `stride`-th is a level."""
        place = (timestep - (self.stride - 1)).float() / self.stride
        return super().sigma(place.clamp(0, len(self.sigmas) - 1))

    def uniform(self, count: int) -> Tensor:
        """`count` sigmas at even timesteps, from the last one to the first."""
        start, end = self.timestep(self.sigmas[[-1, 0]]).tolist()
        return self.sigma(torch.linspace(start, end, count))
