"""Batches of scenes as tensors. Training scenes and held-out scenes have different seeds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .scenes import Image, Scene, draw, random_scene

HELD_OUT = 1_000_000_000  # seeds from here on are never trained on


def training_scene(rng: np.random.Generator) -> Scene:
    """A scene with a training seed."""
    return random_scene(np.random.default_rng(int(rng.integers(HELD_OUT))))


def held_out_scene(index: int) -> Scene:
    """The `index`-th held-out scene."""
    return random_scene(np.random.default_rng(HELD_OUT + index))


def to_tensor(pictures: list[Image] | NDArray[np.uint8]) -> Tensor:
    """uint8 pictures [B][H, W, 3] to float [B, 3, H, W] in -1..1."""
    stacked = np.ascontiguousarray(np.stack(list(pictures)).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 127.5 - 1


def to_pictures(tensor: Tensor) -> NDArray[np.uint8]:
    """Float [B, 3, H, W] in -1..1 to uint8 [B, H, W, 3]."""
    scaled = ((tensor.float() + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def crops(rng: np.random.Generator, count: int, crop: int = 64, size: int = 128) -> Tensor:
    """`count` crops of `crop` pixels, two from each scene drawn at `size` unless they are whole."""
    found: list[Image] = []
    each = 1 if crop == size else 2
    while len(found) < count:
        picture, _ = draw(training_scene(rng), size)
        for top, left in rng.integers(0, size - crop + 1, (each, 2)):
            found.append(picture[top : top + crop, left : left + crop])
    return to_tensor(found[:count])


def sheet(rows: list[NDArray[np.uint8]]) -> Image:
    """One picture from rows of pictures [N, H, W, 3]."""
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
