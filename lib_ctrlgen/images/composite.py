"""Edits finished pictures: pastes the original around a hole, transfers the lightness of an original."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

LightSpace: TypeAlias = Literal["luminance", "intensity", "intensity of 180 hues"]
Pixels: TypeAlias = NDArray[np.uint8]

# OpenCV's conversions to the space and from it, and the channel of the lightness: L of CIE L*a*b*, V of HSV.
_SPACES = {
    "luminance": (cv2.COLOR_RGB2LAB, cv2.COLOR_LAB2RGB, 0),
    "intensity": (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_HSV2RGB_FULL, 2),
    "intensity of 180 hues": (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2),
}


def pixels_of(picture: Image.Image) -> Pixels:
    """A picture as RGB pixels [H, W, 3]."""
    return np.array(picture.convert("RGB"))


def lightness(pixels: Pixels, space: LightSpace, gamma: float = 1.0) -> Pixels:
    """The lightness [H, W] of RGB pixels [H, W, 3]; `gamma` is the exponent applied to it in 0..1."""
    to, _, channel = _SPACES[space]
    light: NDArray[Any] = cv2.cvtColor(pixels, to)[..., channel]
    return np.asarray(np.rint((light / 255.0) ** gamma * 255.0), np.uint8)


def with_lightness(pixels: Pixels, light: Pixels, space: LightSpace) -> Pixels:
    """Replace the lightness of RGB pixels [H, W, 3] by `light` [H, W]; colours out of range are clipped."""
    to, back, channel = _SPACES[space]
    parts = cv2.cvtColor(pixels, to)
    parts[..., channel] = light
    return np.asarray(cv2.cvtColor(parts, back), np.uint8)


def hole_share(hole: NDArray[np.bool_], border: int, *, even: bool = False) -> NDArray[np.float32]:
    """The generated picture's share of each pixel [H, W]: 1 in the hole, falling to 0 at `border` pixels.

    An even border is widened by a pixel, to be the same on all sides, unless `even` allows it.
    """
    share = hole.astype(np.float32)
    if border:
        side = border if even or border % 2 else border + 1
        grown = cv2.dilate(share, np.ones((side, side), np.uint8))
        share = np.asarray(cv2.blur(grown, (side, side)), np.float32)
    return np.where(hole, np.float32(1), share)


def mixed(pixels: Pixels, other: NDArray[Any], share: NDArray[np.float32]) -> Pixels:
    """Mix `share` [H, W] of `pixels` with the rest of `other`, both [H, W, 3]; exact for shares 0 and 1."""
    part = share[..., None]
    return np.asarray(np.rint(part * pixels + (1 - part) * other).clip(0, 255), np.uint8)
