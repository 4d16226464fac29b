"""Units that change finished pictures. They run inside `p.sample`, whose errors are not swallowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modules import devices, processing, shared
from PIL import Image
from torch import Tensor

from lib_ctrlgen.session.session import ControlSession


def finished(p: Any, made: Any, session: ControlSession) -> Any:
    """Decode a batch as the WebUI does, and return its pictures after the units that change them.

    `made` is the latents [B, 4, h, w], or the WebUI's list of decoded pictures.
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
    """Convert a decoded picture [3, H, W] in -1..1 to 8 bits, as the WebUI does."""
    pixels = ((decoded.float() + 1) / 2).clamp(0, 1).cpu().numpy() * 255
    return Image.fromarray(np.moveaxis(pixels, 0, 2).astype(np.uint8))


def from_picture(picture: Image.Image) -> Tensor:
    """Return the decoded picture [3, H, W] in -1..1 that the WebUI converts to exactly this picture.

    The WebUI truncates to 8 bits, so 0.25 of a level is added, which rounding would not change either.
    """
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return (pixels.float() + 0.25) / 255 * 2 - 1
