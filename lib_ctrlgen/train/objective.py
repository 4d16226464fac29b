"""The denoising loss: noise, the target of eps and v prediction, min-SNR weights, masks.

Ho et al. 2020, Denoising Diffusion Probabilistic Models; Salimans and Ho 2022, Progressive Distillation for
Fast Sampling of Diffusion Models (v); Hang et al. 2023, Efficient Diffusion Training via Min-SNR Weighting
Strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of

from .batch import Batch
from .methods.base import TrainingMethod


class Noised(NamedTuple):
    """Noise [B, 4, h, w], the timesteps [B] that it belongs to, and the noisy latents."""

    noise: Tensor
    timesteps: Tensor
    noisy: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """The loss of a checkpoint whose noise schedule has `alphas` [T] (the cumulative products).

    min_snr is gamma, 0 weights all timesteps alike.
    """

    alphas: Tensor
    predicts_v: bool
    min_snr: float = 0.0

    @staticmethod
    def of(noise: Mapping[str, Any], min_snr: float, device: torch.device) -> Objective:
        """The loss of a checkpoint with these arguments of diffusers' schedulers."""
        return Objective(
            alphas=alphas_cumprod_of(noise).to(device),
            predicts_v=noise["prediction_type"] == "v_prediction",
            min_snr=min_snr,
        )

    def noised(self, latents: Tensor, generator: torch.Generator) -> Noised:
        """Add noise of uniformly drawn timesteps. `generator` is the CPU's: every device draws alike."""
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timesteps = torch.randint(len(self.alphas), (len(latents),), generator=generator)
        return self.at(latents, noise, timesteps.to(latents.device))

    def at(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Noised:
        """The latents with this noise at these timesteps."""
        signal, sigma = self._parts(timesteps)
        return Noised(noise, timesteps, signal * latents + sigma * noise)

    def target(self, latents: Tensor, drawn: Noised) -> Tensor:
        """What the U-Net is to predict: the noise, or v = signal * noise - sigma * latents."""
        if not self.predicts_v:
            return drawn.noise
        signal, sigma = self._parts(drawn.timesteps)
        return signal * drawn.noise - sigma * latents

    def row_weights(self, timesteps: Tensor) -> Tensor:
        """Min-SNR weights [B]: min(SNR, gamma) / SNR for eps, min(SNR, gamma) / (SNR + 1) for v."""
        if not self.min_snr:
            return torch.ones(len(timesteps), device=timesteps.device)
        alphas = self.alphas[timesteps]
        snr = alphas / (1 - alphas)
        return snr.clamp(max=self.min_snr) / (snr + 1 if self.predicts_v else snr)

    def loss(self, method: TrainingMethod, batch: Batch, drawn: Noised) -> Tensor:
        """The mean loss of a batch, a scalar in float32."""
        predicted = method.predict(batch, drawn.noisy, drawn.timesteps)
        target = self.target(batch.latents, drawn)
        if batch.prior:
            target = method.prior_target(batch, drawn.noisy, drawn.timesteps, target)
        rows = squared_error(predicted, target, batch.weights)
        return (rows * self.row_weights(drawn.timesteps)).mean()

    def _parts(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the latents and of the noise there is, each [B, 1, 1, 1]."""
        alphas = self.alphas[timesteps][:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()


def squared_error(predicted: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """The mean squared error of each row [B] in float32, by `weights` [B, 1, h, w] where they are given."""
    errors = (predicted.float() - target.float()).square()
    if weights is None:
        return errors.mean((1, 2, 3))
    wide = weights.expand_as(errors)
    return (errors * wide).sum((1, 2, 3)) / wide.sum((1, 2, 3)).clamp(min=1e-6)
