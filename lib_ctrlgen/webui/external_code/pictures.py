"""Functions of sd-webui-controlnet that work on pictures as arrays [H, W, C] of bytes."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lib_ctrlgen.images.files import decode_image

from .enums import ResizeMode

Pixels: TypeAlias = NDArray[np.uint8]
CELL = 64  # pixels: `resize_image` makes both sides a multiple of it


def to_base64_nparray(encoding: str) -> Pixels:
    """The picture of a base64 text or data URL, [H, W, C]. Raises RequestError for another text."""
    return np.array(decode_image(encoding, "image"), dtype=np.uint8)


def pixel_perfect_resolution(image: Pixels, target_H: int, target_W: int, resize_mode: ResizeMode) -> int:  # noqa: N803 - clients pass these names
    """The short side of a picture [H, W, C] after it was fitted to a size, without crop and padding."""
    height, width = image.shape[:2]
    scales = float(target_H) / height, float(target_W) / width
    scale = min(scales) if resize_mode is ResizeMode.OUTER_FIT else max(scales)
    return int(np.round(scale * min(height, width)))


def HWC3(x: Pixels) -> Pixels:  # noqa: N802 - the name that clients import
    """An RGB picture [H, W, 3] of a grey one [H, W] or [H, W, 1], or of an RGBA one, laid on white."""
    layers = x[:, :, None] if x.ndim == 2 else x
    if layers.shape[2] == 4:
        share = layers[:, :, 3:].astype(np.float32) / 255.0
        mixed = layers[:, :, :3] * share + 255.0 * (1.0 - share)
        made: Pixels = mixed.clip(0, 255).astype(np.uint8)
        return made
    return np.repeat(layers, 3, axis=2) if layers.shape[2] == 1 else layers


def resize_image(input_image: Pixels, resolution: int) -> Pixels:
    """A picture whose short side is about `resolution`, with both sides multiples of 64."""
    height, width = input_image.shape[:2]
    scale = float(resolution) / min(height, width)
    size = [int(np.round(side * scale / CELL)) * CELL for side in (width, height)]
    method = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA
    made: Pixels = np.asarray(cv2.resize(input_image, size, interpolation=method), np.uint8)
    return made
