"""Depth by Depth Anything (Yang et al. 2024), versions 1 and 2."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import cv2
import numpy as np

from .base import Comparison
from .depth_anything_network import first_version, second_version
from .network import (
    MEAN,
    SPREAD,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    array,
    between,
    fractions,
    grey_levels,
    normalised,
)

SIDE, PATCH = 518, 14  # pixels: the shorter side that the network was trained with, and the side of a patch


class DepthAnything(NetworkPreprocessor):
    """Depth: near is white, far is black."""

    name: ClassVar[str] = "depth_anything"
    title: ClassVar[str] = "Depth, Depth Anything (depth_anything)"
    union_type: ClassVar[str] = "depth"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="depth_anything_vitl14.pth", build=first_version
    )

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The network's result, stretched to 0..255; it gets the picture with a short side of 518 pixels."""
        del params
        height, width = pixels.shape[:2]
        seen = cv2.resize(fractions(pixels), seen_size(width, height), interpolation=cv2.INTER_CUBIC)
        depth = array(self.run(normalised(np.asarray(seen), MEAN, SPREAD)))
        return grey_levels(between(np.asarray(cv2.resize(depth, (width, height)))))


class DepthAnythingV2(DepthAnything):
    """Depth with finer details."""

    name: ClassVar[str] = "depth_anything_v2"
    title: ClassVar[str] = "Depth, Depth Anything V2 (depth_anything_v2)"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="depth_anything_v2_vitl.safetensors", build=second_version
    )


def seen_size(width: int, height: int) -> tuple[int, int]:
    """The size at which the network sees a picture: both sides at least 518, in whole patches.

    >>> seen_size(1024, 512), seen_size(512, 768)
    ((1036, 518), (518, 784))
    """
    scale = SIDE / min(width, height)
    sides = [round(side * scale / PATCH) * PATCH for side in (width, height)]
    least = [side if side >= SIDE else math.ceil(SIDE / PATCH) * PATCH for side in sides]
    return least[0], least[1]
