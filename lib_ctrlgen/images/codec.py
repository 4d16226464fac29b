"""Converts pictures to RGB, to masks of their transparency, and to tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import RequestError

from .files import normal_mode


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture to RGB with 8 bits per channel, on a white background as other tools do."""
    normal = normal_mode(image)
    if normal.mode == "RGB":
        return normal
    if normal.mode == "F":
        levels = (np.asarray(normal) * np.float32(255)).round().astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    white = Image.new("RGBA", normal.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, normal).convert("RGB")


def require_visible(image: Image.Image, path: str) -> None:
    """Raise RequestError at `path` if a picture is transparent everywhere."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0:
        raise RequestError(path, "is transparent everywhere, so it shows nothing")


def transparent(image: Image.Image) -> Image.Image | None:
    """An RGB mask, white where the picture is less than half opaque; None if there is no such pixel."""
    normal = normal_mode(image)
    if normal.mode != "RGBA":
        return None
    found = normal.getchannel("A").point(lambda alpha: 255 * (alpha < 128))
    return found.convert("RGB") if found.getbbox() else None


def to_hint(image: Image.Image) -> Tensor:
    """Convert a picture to a float32 tensor [1, 3, H, W] in 0..1."""
    pixels = torch.from_numpy(np.array(to_rgb(image)))
    return pixels.permute(2, 0, 1)[None].float().div(255.0)
