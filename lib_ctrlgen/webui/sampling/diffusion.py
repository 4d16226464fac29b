"""The VAE and the noise schedule of the loaded checkpoint, for controls that need them.

Each call reads `shared.sd_model` again: a refiner or a hires checkpoint may have been loaded since, and the
WebUI changes the noise schedule (zero terminal SNR) just before it samples.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from modules import devices, sd_vae, shared
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.unet.noise_level import Diffusion, NoiseSchedule


def loaded_diffusion() -> Diffusion:
    """Return functions that use whichever checkpoint is loaded when they are called."""
    return Diffusion(encode=encode, origin=origin, noise=noise)


def noise() -> NoiseSchedule:
    """Return the loaded checkpoint's noise schedule."""
    model = shared.sd_model
    return NoiseSchedule(alphas_cumprod=model.alphas_cumprod, velocity=model.parameterization == "v")


def origin() -> tuple[Hashable, ...]:
    """Return a key of the loaded checkpoint, its VAE and the VAE's precision."""
    checkpoint = shared.sd_model.sd_checkpoint_info.filename
    return str(checkpoint), str(sd_vae.loaded_vae_file), devices.dtype_vae


def encode(picture: Image.Image | Tensor) -> Tensor:
    """Return the scaled mean of the VAE's distribution for a picture, [1, 4, h, w]. Raises HostError.

    sgm's encoder returns only a random sample, so a hook reads the mean inside the VAE. The WebUI's own
    method runs the VAE, because it moves it to the GPU under --medvram. The random state is restored.
    """
    model, means = shared.sd_model, []

    def keep(_module: nn.Module, _args: object, moments: Tensor) -> None:
        means.append(moments.float().chunk(2, 1)[0])

    vae: Any = model.first_stage_model
    vae.to(devices.dtype_vae)
    hint = picture if isinstance(picture, Tensor) else to_hint(picture)
    pixels = hint.to(devices.device, devices.dtype_vae) * 2 - 1
    hook = vae.quant_conv.register_forward_hook(keep)
    try:
        with torch.no_grad(), devices.without_autocast(), torch.random.fork_rng(devices=[]):
            model.encode_first_stage(pixels)
    finally:
        hook.remove()
    if not means or not torch.isfinite(means[-1]).all():
        raise HostError(
            "the VAE cannot encode a unit's picture (its result is not a number): start the WebUI with "
            "--no-half-vae, or choose another VAE"
        )
    mean: Tensor = means[-1] * model.scale_factor
    return mean
