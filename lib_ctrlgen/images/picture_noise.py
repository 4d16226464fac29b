"""Noise in a picture, as the negative picture of an IP-Adapter (kinds as in ComfyUI_IPAdapter_plus)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from .files import image_hash

SHIFT = 75 / 224  # largest shift of `shuffle` before smoothing, as a part of the side
SMOOTH = 3.5 / 224  # standard deviation of its smoothing at strength 0, as a part of the side


def noised(picture: Image.Image, kind: str, strength: float) -> Image.Image:
    """An RGB picture with noise; the same picture has the same noise at every call.

    fade      a mixture with uniform noise
    dissolve  uniform noise in a random part of the values
    gaussian  the picture plus normal noise with the standard deviation `strength`
    shuffle   the picture turned by half a turn and distorted: its colours without its layout

    `strength` is in 0..1. Raises ValueError for another kind.
    """
    random = np.random.default_rng(int(image_hash(picture), 16))
    values = np.asarray(picture, np.float32) / 255.0
    if kind == "shuffle":
        return _picture(shuffled(values[::-1, ::-1], strength, random))
    if kind == "gaussian":
        return _picture(values + strength * random.standard_normal(values.shape, np.float32))
    noise = random.random(values.shape, np.float32)
    if kind == "fade":
        return _picture(values * (1 - strength) + noise * strength)
    if kind == "dissolve":
        chosen = random.random(values.shape, np.float32) < strength
        return _picture(np.where(chosen, noise, values))
    raise ValueError(f"unknown kind of noise {kind!r}")


def shuffled(
    values: NDArray[np.float32], strength: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """A picture [H, W, C] whose pixels are taken from random places; smoother for a lower strength."""
    height, width = values.shape[:2]
    shifts = torch.from_numpy(random.uniform(-1, 1, (2, 1, height, width)).astype(np.float32))
    sigma = (1 - strength) * SMOOTH * max(height, width)
    if sigma > 0:
        shifts = _blurred(shifts, sigma)
    across = torch.linspace(-1, 1, width).expand(height, width)
    down = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    grid = torch.stack((across, down), dim=-1)[None] + 2 * SHIFT * shifts.permute(1, 2, 3, 0)
    pixels = torch.from_numpy(values.copy()).permute(2, 0, 1)[None]
    found = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=True)
    moved: NDArray[np.float32] = found[0].permute(1, 2, 0).numpy()
    return moved


def _blurred(shifts: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur [N, 1, H, W] by a Gaussian."""
    reach = max(1, min(round(3 * sigma), *(side - 1 for side in shifts.shape[-2:])))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    padded = functional.pad(shifts, (reach, reach, reach, reach), mode="reflect")
    return functional.conv2d(functional.conv2d(padded, line[None, None, None]), line[None, None, :, None])


def _picture(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
