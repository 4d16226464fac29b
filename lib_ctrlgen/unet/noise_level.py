"""What a U-Net's output says of the clean latent, at every noise level, and what a host has to do with it.

Ho, Jain and Abbeel 2020 (`epsilon`); Salimans and Ho 2022 (`v`). A U-Net is called with
x = sqrt(abar) x0 + sqrt(1 - abar) eps, where abar is `alphas_cumprod` at its timestep.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """The noise level of rows: `signal` sqrt(abar) and `noise` sqrt(1 - abar), both [B, 1, 1, 1].

    `velocity` says that the U-Net predicts v = signal * eps - noise * x0 instead of eps.
    """

    signal: Tensor
    noise: Tensor
    velocity: bool = False

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """The clean latent that an output stands for, all [B, 4, h, w]."""
        if self.velocity:
            return self.signal * x - self.noise * output
        return (x - self.noise * output) / self.signal

    def output_change(self, change: Tensor) -> Tensor:
        """What to add to the output so that the clean latent changes by `change`."""
        return -(change if self.velocity else self.signal * change) / self.noise

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """A clean latent at this level."""
        return self.signal * clean + self.noise * noise


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """A checkpoint's `alphas_cumprod` [T], and whether its U-Net predicts v instead of eps."""

    alphas_cumprod: Tensor
    velocity: bool = False

    def at(self, timestep: Tensor) -> Level:
        """The level at timesteps [B]; between two whole ones log sigma is linear, as in k-diffusion."""
        alphas = self.alphas_cumprod.to(timestep.device, torch.float32)
        logs = ((1 - alphas) / alphas).log() / 2
        place = timestep.float().clamp(0, len(logs) - 1)
        low = place.floor().long()
        sigma = torch.lerp(logs[low], logs[place.ceil().long()], place - low).exp().reshape(-1, 1, 1, 1)
        signal = (1 + sigma**2).rsqrt()
        return Level(signal, sigma * signal, self.velocity)

    @property
    def noisiest(self) -> Level:
        """The level of the last timestep, [1, 1, 1, 1]: where a picture begins."""
        return self.at(torch.tensor([len(self.alphas_cumprod) - 1], device=self.alphas_cumprod.device))


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """What a control may ask of the loaded checkpoint, whichever that is when it asks.

    encode    a picture's clean latent [1, 4, h, w], as the U-Net knows it: the mean of the VAE's
              distribution, scaled
    origin    names the VAE, as part of a key
    noise     the noise schedule
    """

    encode: Callable[[Image.Image], Tensor]
    origin: Callable[[], tuple[Hashable, ...]]
    noise: Callable[[], NoiseSchedule]
