"""Converts between a U-Net's output and the clean latent x0, for epsilon and v prediction.

Ho, Jain and Abbeel 2020 (epsilon); Salimans and Ho 2022 (v). The U-Net's input is
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
    """The noise level of each row: `signal` is sqrt(abar), `noise` is sqrt(1 - abar), both [B, 1, 1, 1].

    `velocity` is true if the U-Net predicts v = signal * eps - noise * x0, false if it predicts eps.
    """

    signal: Tensor
    noise: Tensor
    velocity: bool = False

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the clean latent for a U-Net's input `x` and its output, all [B, 4, h, w]."""
        if self.velocity:
            return self.signal * x - self.noise * output
        return (x - self.noise * output) / self.signal

    def output_change(self, change: Tensor) -> Tensor:
        """Return what to add to the output so that the clean latent changes by `change`, [B, 4, h, w]."""
        return -(change if self.velocity else self.signal * change) / self.noise

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return a clean latent with `noise` added at this level, [B, 4, h, w]."""
        return self.signal * clean + self.noise * noise


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """A checkpoint's `alphas_cumprod` [T], and whether its U-Net predicts v instead of eps."""

    alphas_cumprod: Tensor
    velocity: bool = False

    def at(self, timestep: Tensor) -> Level:
        """Return the level at timesteps [B], interpolating log sigma between integers as k-diffusion does."""
        alphas = self.alphas_cumprod.to(timestep.device, torch.float32)
        logs = ((1 - alphas) / alphas).log() / 2
        place = timestep.float().clamp(0, len(logs) - 1)
        low = place.floor().long()
        sigma = torch.lerp(logs[low], logs[place.ceil().long()], place - low).exp().reshape(-1, 1, 1, 1)
        signal = (1 + sigma**2).rsqrt()
        return Level(signal, sigma * signal, self.velocity)

    @property
    def noisiest(self) -> Level:
        """The level of the last timestep, [1, 1, 1, 1], at which sampling begins."""
        return self.at(torch.tensor([len(self.alphas_cumprod) - 1], device=self.alphas_cumprod.device))


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Access to the VAE and the noise schedule of the checkpoint that is loaded at the time of the call.

    encode    returns a picture's clean latent [1, 4, h, w]: the mean of the VAE's distribution, times the
              VAE's scaling factor. The picture may be a tensor [1, 3, H, W] in 0..1
    origin    returns a key that identifies the VAE
    noise     returns the noise schedule
    """

    encode: Callable[[Image.Image | Tensor], Tensor]
    origin: Callable[[], tuple[Hashable, ...]]
    noise: Callable[[], NoiseSchedule]
