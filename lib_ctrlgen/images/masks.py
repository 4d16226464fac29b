"""Reads masks of units and of blend concepts: brightness times opacity, in 0..1."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import RequestError

from .files import normal_mode

SAME_COLOUR = 8  # of 255: lossy files change colours by less
BLACK = 0.5 / 255  # a mask with no value above this is black
ALL_BLACK = (
    "is black everywhere (or wholly transparent), so the unit or concept would have no effect: paint the "
    "mask white (or opaque) where it is to act, or leave the mask out"
)


def mask_values(image: Image.Image) -> NDArray[np.float32]:
    """The values [H, W] of a mask in 0..1: its brightness times its opacity.

    If the picture has one colour and varying opacity, the values are its opacity alone.
    """
    normal = normal_mode(image)
    if normal.mode == "F":
        return np.array(normal)
    bright = np.asarray(normal.convert("RGB").convert("L"), np.float32) / np.float32(255)
    if normal.mode == "RGB":
        return bright
    opacity = np.asarray(normal.getchannel("A"), np.float32) / np.float32(255)
    return opacity if _is_only_alpha(np.asarray(normal), opacity) else bright * opacity


def _is_only_alpha(pixels: NDArray[np.uint8], opacity: NDArray[np.float32]) -> bool:
    """Whether a picture [H, W, 4] has varying opacity, and only one colour where it is not transparent."""
    if opacity.min() == opacity.max():
        return False
    colours = pixels[..., :3].astype(np.float32)
    colour = colours.reshape(-1, 3)[opacity.argmax()]
    return bool((np.abs(colours - colour).max(-1) * opacity).max() <= SAME_COLOUR)


def is_black(mask: Image.Image) -> bool:
    """Whether a mask is black (or transparent) everywhere."""
    return bool(mask_values(mask).max() < BLACK)


def require_white(mask: Image.Image, path: str) -> None:
    """Raise RequestError at `path` for a mask that is black everywhere."""
    if is_black(mask):
        raise RequestError(path, ALL_BLACK)


def by_area(values: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Resize a mask [H, W] by area averaging to a tensor [1, 1, h, w] of a latent's height and width."""
    return functional.interpolate(torch.from_numpy(values)[None, None], size, mode="area")
