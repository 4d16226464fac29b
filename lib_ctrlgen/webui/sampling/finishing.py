"""What units do to finished pictures, inside `p.sample`: there a failure stops the request."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modules import devices, processing, shared
from PIL import Image
from torch import Tensor

from lib_ctrlgen.session.session import ControlSession


def finished(p: Any, made: Any, session: ControlSession) -> Any:
    """The decoded pictures of a batch after the units that change them, as the WebUI decodes them itself.

    `made` are latents [B, 4, h, w], or pictures in the WebUI's list of what is decoded already.
    """
    if not getattr(made, "already_decoded", False):
        if shared.opts.sd_vae_decode_method != "Full":
            p.extra_generation_params["VAE Decoder"] = shared.opts.sd_vae_decode_method
        made = processing.decode_latent_batch(
            p.sd_model, made, target_device=devices.cpu, check_for_nans=True
        )
    changed = (session.finished(image, to_picture(each)) for image, each in enumerate(made))
    return type(made)(map(from_picture, changed))


def to_picture(decoded: Tensor) -> Image.Image:
    """A decoded picture [3, H, W] in -1..1, as the WebUI makes it."""
    pixels = ((decoded.float() + 1) / 2).clamp(0, 1).cpu().numpy() * 255
    return Image.fromarray(np.moveaxis(pixels, 0, 2).astype(np.uint8))


def from_picture(picture: Image.Image) -> Tensor:
    """A decoded picture [3, H, W] of which the WebUI makes exactly this one.

    It cuts fractions off, so a quarter of a step is added, which rounding would not mind either.
    """
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return (pixels.float() + 0.25) / 255 * 2 - 1
