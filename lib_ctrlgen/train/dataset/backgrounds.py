"""Replaces what is behind a masked subject."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VARIANTS = 8  # how many backgrounds a picture gets with `random`


def variants(background: str, *, masked: bool) -> int:
    """How many versions of a picture there are."""
    return VARIANTS if background == "random" and masked else 1


def replaced(
    picture: Image.Image, mask: NDArray[np.float32] | None, background: str, key: tuple[int, ...]
) -> Image.Image:
    """The picture with the background that the training asks for; `key` seeds a random colour."""
    if mask is None or background == "keep":
        return picture
    colour = _random_colour(key) if background == "random" else _parsed(background)
    pixels, weight = np.asarray(picture, np.float32), mask[..., None]
    mixed = pixels * weight + colour * (1 - weight)
    return Image.fromarray(mixed.round().astype(np.uint8))


def _random_colour(key: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(key).uniform(0, 255, 3).astype(np.float32)


def _parsed(text: str) -> NDArray[np.float32]:
    return np.frombuffer(bytes.fromhex(text[1:]), np.uint8).astype(np.float32)
