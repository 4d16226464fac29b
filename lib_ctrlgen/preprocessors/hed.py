"""Soft edges by HED (Xie and Tu 2015, Holistically-Nested Edge Detection), in lllyasviel's version."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import nn

from .base import Comparison
from .edge_maps import fused, stepped, strokes
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, Tensors, grey_levels
from .packages import detector_file


def hed_network(tensors: Tensors) -> nn.Module:
    """The network, which gets RGB in 0..255 and returns the logits of edges at five sizes."""
    del tensors
    network: nn.Module = detector_file("hed").ControlNetHED_Apache2()
    return network


class Hed(NetworkPreprocessor):
    """Soft, thick edges."""

    name: ClassVar[str] = "hed"
    title: ClassVar[str] = "Soft edges, HED (softedge_hed)"
    union_type: ClassVar[str] = "hed"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="ControlNetHED.pth", build=hed_network)
    steps: ClassVar[int] = 0

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The mean of the edges at five sizes."""
        del params
        height, width = pixels.shape[:2]
        return grey_levels(stepped(fused(self.run(pixels.astype(np.float32)), width, height), self.steps))


class HedSafe(Hed):
    """Soft edges in three grey levels."""

    name: ClassVar[str] = "hed_safe"
    title: ClassVar[str] = "Soft edges in few levels, HED (softedge_hedsafe)"
    steps: ClassVar[int] = 2


class ScribbleHed(Hed):
    """Soft edges as white strokes."""

    name: ClassVar[str] = "scribble_hed"
    title: ClassVar[str] = "Scribble, HED (scribble_hed)"
    union_type: ClassVar[str] = "scribble"

    def finished(self, found: Pixels) -> Pixels:
        """The strokes of the soft edges."""
        return strokes(found)
