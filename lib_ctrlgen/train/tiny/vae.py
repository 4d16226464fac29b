"""Trains the autoencoder with L1 and gradient losses and a very small KL term, which keeps edges sharp."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from .data import crops, held_out_scene, sheet, to_pictures, to_tensor
from .loop import Batch, Job, Settings
from .scenes import draw

KL_WEIGHT = 1e-5
EDGE_WEIGHT = 1.0
COLOUR_WEIGHT = 2.0


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbouring pixels, vertical and horizontal."""
    return picture.diff(dim=-2), picture.diff(dim=-1)


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 loss of values, their slopes, and their means over 8 x 8 pixels."""
    pairs = zip(slopes(made), slopes(real), strict=True)
    edges = torch.stack([(ours - theirs).abs().mean() for ours, theirs in pairs]).sum()
    error = made - real
    colour = functional.avg_pool2d(error, 8).abs().mean()
    return error.abs().mean() + EDGE_WEIGHT * edges + COLOUR_WEIGHT * colour


def vae_job(name: str, vae: AutoencoderKL, crop: int, settings: Settings) -> Job:
    """The job to reconstruct pictures [B, 3, crop, crop]."""

    def batch(rng: np.random.Generator) -> Batch:
        return {"picture": crops(rng, settings.batch, crop)}

    def loss(data: Batch, generator: torch.Generator) -> Tensor:
        posterior = vae.encode(data["picture"]).latent_dist
        mean, spread = posterior.mean.float(), posterior.std.float()
        noise = torch.randn(mean.shape, generator=generator)
        made = vae.decode(mean + spread * noise).sample.float()
        kl: Tensor = 0.5 * (mean**2 + spread**2 - 1 - 2 * spread.log()).mean()
        return reconstruction_loss(made, data["picture"]) + KL_WEIGHT * kl

    def preview(path: Path) -> None:
        pictures = np.stack([draw(held_out_scene(k), 128)[0] for k in range(8)])
        rebuilt = round_trip(vae, to_tensor(pictures))
        cv2.imwrite(str(path), sheet([pictures, to_pictures(rebuilt)])[..., ::-1])

    return Job(name=name, module=vae, batch=batch, loss=loss, settings=settings, preview=preview)


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Encode and decode pictures [B, 3, H, W]."""
    made: Tensor = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
    return made
