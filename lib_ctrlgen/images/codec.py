"""Pictures as pixels: transparency, fitting to a size, tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import RequestError

from .files import normal_mode


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB with 8 bits per channel; transparency becomes white, as the field does."""
    normal = normal_mode(image)
    if normal.mode == "RGB":
        return normal
    if normal.mode == "F":
        levels = (np.asarray(normal) * np.float32(255)).round().astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    white = Image.new("RGBA", normal.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, normal).convert("RGB")


def require_visible(image: Image.Image, path: str) -> None:
    """Raise RequestError at `path` for a picture that is transparent everywhere."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0:
        raise RequestError(path, "is transparent everywhere: there is nothing to see in it")


def transparent(image: Image.Image) -> Image.Image | None:
    """White where the picture is less than half opaque, black elsewhere, as RGB; None where it never is."""
    normal = normal_mode(image)
    if normal.mode != "RGBA":
        return None
    found = normal.getchannel("A").point(lambda alpha: 255 * (alpha < 128))
    return found.convert("RGB") if found.getbbox() else None


def to_hint(image: Image.Image) -> Tensor:
    """The picture as a float32 tensor [1, 3, H, W] in 0..1."""
    pixels = torch.from_numpy(np.array(to_rgb(image)))
    return pixels.permute(2, 0, 1)[None].float().div(255.0)
