"""Cuts a unit's picture to the part that img2img paints ("Only masked") as sd-webui-controlnet 1.1.455 does.

It resizes with Pillow's Lanczos filter, as the WebUI resizes init pictures, and before the preprocessor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.request.unit import ResizeMode

from .canvas import Crop

Pixels = NDArray[np.uint8]


def cropped(pixels: Pixels, crop: Crop, width: int, height: int, resize_mode: ResizeMode) -> Pixels:
    """The part of a picture [H, W, 3] that is painted, fitted into [height, width, 3].

    The picture is first fitted to the init picture by the resize mode. What stays free beside the part is
    filled with the pixels at its border.
    """
    across, down = crop.whole
    whole = fitted(pixels, across, down, resize_mode)
    left, top, right, bottom = crop.box
    return fitted(whole[top:bottom, left:right], width, height, "resize_and_fill")


def fitted(pixels: Pixels, width: int, height: int, resize_mode: ResizeMode) -> Pixels:
    """Fit [H, W, 3] to [height, width, 3] as the WebUI's `resize_image` does without an upscaler."""
    if resize_mode == "just_resize":
        return _lanczos(pixels, width, height)
    high, wide = pixels.shape[:2]
    wider = width / height - wide / high  # positive if the target is wider than the picture
    full_width = wider > 0 if resize_mode == "crop_and_resize" else wider < 0
    full_height = wider <= 0 if resize_mode == "crop_and_resize" else wider >= 0
    across = width if full_width else wide * height // high
    down = height if full_height else high * width // wide
    resized = _lanczos(pixels, max(1, across), max(1, down))
    left, top = width // 2 - across // 2, height // 2 - down // 2
    return _placed(resized, width, height, left, top)


def _placed(resized: Pixels, width: int, height: int, left: int, top: int) -> Pixels:
    """Put [H, W, 3] on [height, width, 3] with its corner at `left` and `top`; its border is repeated."""
    rows = np.clip(np.arange(height) - top, 0, resized.shape[0] - 1)
    columns = np.clip(np.arange(width) - left, 0, resized.shape[1] - 1)
    return np.ascontiguousarray(resized[rows][:, columns])


def _lanczos(pixels: Pixels, width: int, height: int) -> Pixels:
    channels = [
        Image.fromarray(np.ascontiguousarray(pixels[..., number])).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        for number in range(pixels.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
