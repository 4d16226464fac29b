"""Soft edges by TEED (Soria et al. 2023, Tiny and Efficient Model for the Edge Detection Generalization)."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from torch import nn

from lib_ctrlgen.request.params import Param

from .base import Comparison
from .edge_maps import fused, stepped
from .lineart_standard import dark_lines
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, Tensors, grey_levels
from .packages import detector_file

SAFE_STEPS = Param(
    name="safe_steps",
    label="Safe steps: the number of grey levels of edges (0: all)",
    kind="int",
    default=2,
    minimum=0,
    maximum=10,
    step=1,
)
LINE_SIGMA, FAINT = 2.0, 3.0  # of Anyline's dark lines: pixels, grey levels
SMALLEST = 12  # pixels: smaller spots of dark lines are left out


def teed_network(tensors: Tensors) -> nn.Module:
    """The network, which gets RGB in 0..255 and returns the logits of edges at three sizes and together."""
    del tensors
    network: nn.Module = detector_file("teed.ted").TED()
    return network


class Teed(NetworkPreprocessor):
    """Soft edges of a network of 58,000 weights."""

    name: ClassVar[str] = "softedge_teed"
    title: ClassVar[str] = "Soft edges, TEED (softedge_teed)"
    params: ClassVar[tuple[Param, ...]] = (SAFE_STEPS,)
    union_type: ClassVar[str] = "hed"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="7_model.pth", build=teed_network)

    def detect(self, pixels: Pixels, safe_steps: int = 2, **params: Any) -> Pixels:
        """The mean of the four results."""
        del params
        height, width = pixels.shape[:2]
        return grey_levels(stepped(fused(self.run(pixels.astype(np.float32)), width, height), safe_steps))


class Anyline(Teed):
    """Soft edges of a larger TEED, and the dark lines of the picture on them (TheMistoAI, Anyline)."""

    name: ClassVar[str] = "softedge_anyline"
    title: ClassVar[str] = "Soft edges with fine lines, Anyline (softedge_anyline)"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="MTEED.pth", build=teed_network)

    def detect(self, pixels: Pixels, safe_steps: int = 2, **params: Any) -> Pixels:
        """Edges and lines as two layers, combined by 1 - (1 - a)(1 - b)."""
        edges = super().detect(pixels, safe_steps, **params) / 255
        lines = without_spots(dark_lines(pixels, LINE_SIGMA, FAINT)) / 255
        return grey_levels(1 - (1 - edges) * (1 - lines))


def without_spots(lines: Pixels) -> Pixels:
    """Lines [H, W] without connected spots (4-connected) of fewer than `SMALLEST` pixels."""
    count, spots, sizes, _ = cv2.connectedComponentsWithStats((lines > 0).astype(np.uint8), connectivity=4)
    large = sizes[:count, cv2.CC_STAT_AREA] >= SMALLEST
    return np.where(large[spots], lines, 0).astype(np.uint8)
