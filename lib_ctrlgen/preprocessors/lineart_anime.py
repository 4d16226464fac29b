"""Line art by Anime2Sketch (Xiang et al. 2022, Adversarial Open Domain Adaptation for Sketch-to-Photo)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
from torch import nn

from .base import Comparison
from .network import Map, NetworkPreprocessor, Pixels, PublishedNetwork, Tensors, array
from .packages import detector_file

SIDE = 256  # pixels: the network halves the size eight times
COLOURS, LINES, HALVINGS, WIDTH = 3, 1, 8, 64


def anime_network(tensors: Tensors) -> nn.Module:
    """The U-Net, which gets RGB in -1..1 and returns black lines on white, in -1..1."""
    del tensors
    norm = partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    generator = detector_file("lineart_anime").UnetGenerator
    network: nn.Module = generator(COLOURS, LINES, HALVINGS, WIDTH, norm_layer=norm, use_dropout=False)
    return network


class LineartAnime(NetworkPreprocessor):
    """Clean white lines of drawings and photographs."""

    name: ClassVar[str] = "lineart_anime"
    title: ClassVar[str] = "Line art, anime (lineart_anime)"
    union_type: ClassVar[str] = "lineart"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="netG.pth", build=anime_network)

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The network's lines in white on black; it gets the picture resized to multiples of 256 pixels."""
        del params
        height, width = pixels.shape[:2]
        seen = tuple(-(-side // SIDE) * SIDE for side in (width, height))
        large = np.asarray(cv2.resize(pixels, seen, interpolation=cv2.INTER_CUBIC), np.float32)
        lines: Map = array(self.run(large / 127.5 - 1)) * 127.5 + 127.5
        small = np.asarray(cv2.resize(lines, (width, height), interpolation=cv2.INTER_CUBIC))
        return 255 - small.clip(0, 255).astype(np.uint8)
