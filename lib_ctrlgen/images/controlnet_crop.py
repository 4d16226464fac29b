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
    channels = [Image.fromarray(np.ascontiguousarray(pixels[..., number])) for number in range(3)]
    found = [_fitted(channel, width, height, resize_mode) for channel in channels]
    return np.stack([np.asarray(channel) for channel in found], axis=2)


def _fitted(channel: Image.Image, width: int, height: int, resize_mode: ResizeMode) -> Image.Image:
    """Fit one channel; what stays free is filled from its first and last rows or columns."""
    if resize_mode == "just_resize":
        return channel.resize((width, height), Image.Resampling.LANCZOS)
    wider = width / height - channel.width / channel.height  # positive if the target is wider
    full_width = wider > 0 if resize_mode == "crop_and_resize" else wider < 0
    full_height = wider <= 0 if resize_mode == "crop_and_resize" else wider >= 0
    across = width if full_width else channel.width * height // channel.height
    down = height if full_height else channel.height * width // channel.width
    resized = channel.resize((across, down), Image.Resampling.LANCZOS)
    left, top = width // 2 - across // 2, height // 2 - down // 2
    placed = Image.new("L", (width, height))
    placed.paste(resized, (left, top))
    if resize_mode == "resize_and_fill":
        _fill(placed, resized, left, top)
    return placed


def _fill(placed: Image.Image, resized: Image.Image, left: int, top: int) -> None:
    """Fill what stays free beside a channel in place.

    Pillow reads a box without height (or width) by its cubic filter, centred on the border.
    """
    (width, height), (across, down) = placed.size, resized.size
    if top > 0:
        for border, place in ((0, 0), (down, top + down)):
            placed.paste(resized.resize((width, top), box=(0, border, width, border)), (0, place))
    elif left > 0:
        for border, place in ((0, 0), (across, left + across)):
            placed.paste(resized.resize((left, height), box=(border, 0, border, height)), (place, 0))
