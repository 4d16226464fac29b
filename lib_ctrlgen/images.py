"""Pictures as pixels: transparency, fitting to a size, tensors."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.picture_files import decode_image, encode_image, image_hash, normal_mode
from lib_ctrlgen.resampling import Resize, border_colour, resample

__all__ = [
    "ResizeMode",
    "decode_image",
    "encode_image",
    "filled",
    "fit",
    "fit_pixels",
    "image_hash",
    "require_visible",
    "to_hint",
    "to_rgb",
    "transparent",
]

ResizeMode: TypeAlias = Literal["just_resize", "crop_and_resize", "resize_and_fill"]


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


def fit(image: Image.Image, width: int, height: int, resize_mode: ResizeMode) -> Image.Image:
    """Bring a control map to `width` x `height` pixels, as RGB. It stays a map: see `resampling.resample`."""
    return Image.fromarray(fit_pixels(np.asarray(to_rgb(image)), width, height, resize_mode, resample))


def fit_pixels(
    pixels: NDArray[Any], width: int, height: int, resize_mode: ResizeMode, resize: Resize
) -> NDArray[Any]:
    """Bring [H, W, ...] to [height, width, ...], resizing with `resize`.

    `just_resize` stretches. `crop_and_resize` covers the target and crops the centre.
    `resize_and_fill` fits inside and fills with the median colour of the border.
    """
    if resize_mode == "just_resize":
        return np.asarray(resize(pixels, width, height))
    own_height, own_width = pixels.shape[:2]
    scales = width / own_width, height / own_height
    scale = max(scales) if resize_mode == "crop_and_resize" else min(scales)
    resized = resize(pixels, _scaled(own_width, scale), _scaled(own_height, scale))
    canvas = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    canvas[:] = border_colour(pixels)
    _paste_centre(canvas, resized)
    return canvas


def filled(size: tuple[int, int], width: int, height: int) -> Image.Image:
    """White where `resize_and_fill` fills what a picture of `size` leaves free, as RGB."""
    scale = min(width / size[0], height / size[1])
    canvas = np.full((height, width, 3), 255, np.uint8)
    _paste_centre(canvas, np.zeros((_scaled(size[1], scale), _scaled(size[0], scale), 3), np.uint8))
    return Image.fromarray(canvas)


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _paste_centre(canvas: NDArray[Any], picture: NDArray[Any]) -> None:
    """Copy `picture` onto the middle of `canvas`; the part that does not fit is cut off."""
    to_y, from_y, rows = _overlap(canvas.shape[0], picture.shape[0])
    to_x, from_x, columns = _overlap(canvas.shape[1], picture.shape[1])
    part = picture[from_y : from_y + rows, from_x : from_x + columns]
    canvas[to_y : to_y + rows, to_x : to_x + columns] = part


def _overlap(outer: int, inner: int) -> tuple[int, int, int]:
    """Start in the outer, start in the inner, and length, of two centred intervals."""
    return max(0, (outer - inner) // 2), max(0, (inner - outer) // 2), min(outer, inner)


def to_hint(image: Image.Image) -> Tensor:
    """The picture as a float32 tensor [1, 3, H, W] in 0..1."""
    pixels = torch.from_numpy(np.array(to_rgb(image)))
    return pixels.permute(2, 0, 1)[None].float().div(255.0)
