"""The parts of a checkpoint beside its U-Net that controls use: the VAE and the noise schedule."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.load import Networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.unet.noise_level import Diffusion, NoiseSchedule


def diffusion_of(networks: Networks, origin: tuple[Hashable, ...]) -> Diffusion:
    """The VAE's encoder and the noise schedule of loaded networks; `origin` identifies their file."""

    def encode(picture: Image.Image | Tensor) -> Tensor:
        vae = networks.vae
        hint = picture if isinstance(picture, Tensor) else to_hint(picture)
        pixels = hint.to(vae.device, vae.dtype) * 2 - 1
        with torch.no_grad():
            found: Tensor = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        return found

    velocity = networks.noise["prediction_type"] == "v_prediction"
    schedule = NoiseSchedule(alphas_cumprod=alphas_cumprod_of(networks.noise), velocity=velocity)
    return Diffusion(encode=encode, origin=lambda: origin, noise=lambda: schedule)
