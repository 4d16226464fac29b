"""Decodes latents to pictures, one at a time to save memory, and equal latents only once."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.shared_rows import SharedRows


def pictures(vae: Any, latents: Tensor) -> list[Image.Image]:
    """The pictures of latents [B, 4, h, w], decoded by diffusers' `vae`.

    Raises HostError where latents or pixels are not finite.
    """
    if not torch.isfinite(latents).all():
        raise HostError(
            "the latents are not finite (NaN or infinity) at the end of the sampling: the checkpoint is "
            "damaged, or overflows in half precision"
        )
    repeats = SharedRows.of([row.float().cpu().numpy().tobytes() for row in latents])
    found = [_picture(vae, latents[row : row + 1]) for row in repeats.firsts]
    return [found[number].copy() for number in repeats.inverse]


def _picture(vae: Any, latent: Tensor) -> Image.Image:
    with torch.no_grad():
        pixels = vae.decode((latent / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
    if not torch.isfinite(pixels).all():
        raise HostError(
            f"the picture that the VAE decoded is not finite (NaN or infinity), though its latents are: the "
            f"VAE is damaged, or overflows in {str(vae.dtype).removeprefix('torch.')}; use a checkpoint with "
            "another VAE"
        )
    (image,) = VaeImageProcessor().postprocess(pixels.detach(), output_type="pil")
    return image  # type: ignore[no-any-return]
