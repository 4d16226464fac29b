"""What controls may ask of the loaded checkpoint beside its U-Net: its VAE and its noise schedule.

Everything is asked of `shared.sd_model` at that moment: a refiner or a hires checkpoint may have taken over,
and the WebUI changes the schedule itself (zero terminal SNR) just before it samples.
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
    """The parts of whichever checkpoint is loaded."""
    return Diffusion(encode=encode, origin=origin, noise=noise)


def noise() -> NoiseSchedule:
    """The checkpoint's schedule, as it is now."""
    model = shared.sd_model
    return NoiseSchedule(alphas_cumprod=model.alphas_cumprod, velocity=model.parameterization == "v")


def origin() -> tuple[Hashable, ...]:
    """Names the checkpoint, its VAE and the precision."""
    checkpoint = shared.sd_model.sd_checkpoint_info.filename
    return str(checkpoint), str(sd_vae.loaded_vae_file), devices.dtype_vae


def encode(picture: Image.Image) -> Tensor:
    """The scaled mean of what the VAE says of a picture, [1, 4, h, w]. Raises HostError.

    sgm's encoder gives a drawn sample alone, so the mean is taken where the VAE computes it. It is asked
    by the host's own method, which moves it to the GPU under --medvram; random numbers are as before.
    """
    model, means = shared.sd_model, []

    def keep(_module: nn.Module, _args: object, moments: Tensor) -> None:
        means.append(moments.float().chunk(2, 1)[0])

    vae: Any = model.first_stage_model
    vae.to(devices.dtype_vae)
    pixels = to_hint(picture).to(devices.device, devices.dtype_vae) * 2 - 1
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
