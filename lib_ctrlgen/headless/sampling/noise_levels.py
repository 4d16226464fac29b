"""The noise levels that a U-Net was trained with, between timesteps too, as k-diffusion measures them.

sigma = sqrt((1 - abar) / abar): the noise's deviation beside a clean latent of full size (Karras et al.
2022). Between two timesteps the logarithm of sigma is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LCM_STEPS = 50  # that a latent consistency model was distilled with


@dataclass(frozen=True)
class NoiseLevels:
    """`sigmas` [T], rising, are those of the timesteps 0, 1, ..., T - 1."""

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
        """The largest sigma, where pictures begin."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timesteps, with fractions, of sigmas [*]."""
        logs = self.logs.to(sigma.device)
        wanted = sigma.log()
        low = (torch.searchsorted(logs, wanted.contiguous(), right=True) - 1).clamp(0, len(logs) - 2)
        share = ((wanted - logs[low]) / (logs[low + 1] - logs[low])).clamp(0, 1)
        return low + share

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigmas of timesteps [*], which may have fractions."""
        place = timestep.float()
        logs = self.logs.to(place.device)
        low, high, share = place.floor().long(), place.ceil().long(), place.frac()
        return ((1 - share) * logs[low] + share * logs[high]).exp()

    def uniform(self, count: int) -> Tensor:
        """`count` sigmas at even timesteps, from the last one to the first."""
        return self.sigma(torch.linspace(len(self.sigmas) - 1, 0, count))


@dataclass(frozen=True)
class LcmLevels(NoiseLevels):
    """The levels of the 50 timesteps that a latent consistency model knows (Luo et al. 2023).

    They lie `stride` apart, the last one of the model among them. Timesteps are whole.
    """

    stride: int = 20

    @staticmethod
    def of(alphas_cumprod: Tensor) -> LcmLevels:
        """The levels of a model's `alphas_cumprod` [T]."""
        stride = len(alphas_cumprod) // LCM_STEPS
        return LcmLevels(NoiseLevels.of(alphas_cumprod[stride - 1 :: stride]).sigmas, stride)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The nearest level's timestep."""
        distances = (sigma.log()[..., None] - self.logs.to(sigma.device)).abs()
        return distances.argmin(-1) * self.stride + self.stride - 1

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigma at each of the model's own timesteps, of which this sampler knows every `stride`-th."""
        place = (timestep - (self.stride - 1)).float() / self.stride
        return super().sigma(place.clamp(0, len(self.sigmas) - 1))

    def uniform(self, count: int) -> Tensor:
        """`count` sigmas at even timesteps, from the last one to the first."""
        start, end = self.timestep(self.sigmas[[-1, 0]]).tolist()
        return self.sigma(torch.linspace(start, end, count))
