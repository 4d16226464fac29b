"""Pictures and maps of numbers as small data URLs for a figure."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.images.poses.drawing import as_picture

MOST = 192  # pixels of a picture's longer side in a figure
RED, BLUE = np.array([196, 40, 40]), np.array([29, 78, 216])
PALE = np.array([239, 244, 255])


def unit_picture(text: str, path: str) -> Image.Image:
    """The picture of a unit as RGB, or the drawing of its pose. Raises RequestError at `path`."""
    return as_picture(decode_control_picture(text, path)).convert("RGB")


def picture_url(picture: Image.Image) -> str:
    """A picture as a data URL, at most 192 pixels wide and high."""
    small = picture.convert("RGB")
    small.thumbnail((MOST, MOST), Image.Resampling.LANCZOS)
    return _url(small, "webp", quality=84, method=6)


def heat_url(values: Tensor, most: float | None = None) -> str:
    """A map [h, w] of numbers from 0 (pale) to `most` (dark blue), which is by default the largest."""
    top = float(values.max()) if most is None else most
    share = _array(values / top if top else values).clip(0, 1)[..., None]
    return _pixels(PALE + share * (BLUE - PALE))


def signed_url(values: Tensor, most: float | None = None) -> str:
    """A map [h, w] of numbers: red below zero, white at zero, blue above, full colour at +-`most`."""
    top = float(values.abs().max()) if most is None else most
    share = _array(values / top if top else values).clip(-1, 1)[..., None]
    ends = np.where(share < 0, RED, BLUE)
    return _pixels(255 + np.abs(share) * (ends - 255))


def over_picture(values: Tensor, picture: Image.Image) -> str:
    """A map [h, w] over a grey picture: pale where it is 0, and red where it is largest."""
    size = picture.size
    low, high = float(values.min()), float(values.max())
    share = (values - low) / ((high - low) or 1.0)
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float64) * 0.35 + 150
    mask = Image.fromarray(_array(share).astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(mask).clip(0, 1)[..., None] * 0.85
    shown = grey + strength * (RED - grey)
    return picture_url(Image.fromarray(shown.clip(0, 255).astype(np.uint8)))


def _array(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return found


def _pixels(colours: NDArray[np.float64]) -> str:
    return _url(Image.fromarray(colours.clip(0, 255).round().astype(np.uint8)), "png", optimize=True)


def _url(picture: Image.Image, kind: str, **options: object) -> str:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
