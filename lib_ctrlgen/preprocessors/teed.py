"""Soft edges by TEED (Soria et al. 2023, Tiny and Efficient Model for the Edge Detection Generalization)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import nn

from lib_ctrlgen.request.params import Param

from .base import Comparison
from .edge_maps import fused, stepped
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
