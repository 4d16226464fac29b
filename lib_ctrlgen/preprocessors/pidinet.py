"""Soft edges by PiDiNet (Su et al. 2021, Pixel Difference Networks for Efficient Edge Detection)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import nn

from .base import Comparison
from .edge_maps import stepped, strokes
from .network import (
    Map,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    Tensors,
    array,
    fractions,
    grey_levels,
)
from .packages import detector_file


def pidinet_network(tensors: Tensors) -> nn.Module:
    """The network, which gets BGR in 0..1 and returns the probability of edges at four sizes and together."""
    del tensors
    network: nn.Module = detector_file("pidi.model").pidinet()
    return network


class PidiNet(NetworkPreprocessor):
    """Soft edges, thinner than those of HED."""

    name: ClassVar[str] = "pidinet"
    title: ClassVar[str] = "Soft edges, PiDiNet (softedge_pidinet)"
    union_type: ClassVar[str] = "pidi"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="table5_pidinet.pth", build=pidinet_network
    )

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The edges of all sizes together."""
        del params
        return grey_levels(self.chosen(array(self.run(fractions(pixels[:, :, ::-1]))[-1])))

    def chosen(self, edge: Map) -> Map:
        """What is shown of the probability of an edge."""
        return edge


class PidiNetSafe(PidiNet):
    """Soft edges in three grey levels."""

    name: ClassVar[str] = "pidinet_safe"
    title: ClassVar[str] = "Soft edges in few levels, PiDiNet (softedge_pidisafe)"

    def chosen(self, edge: Map) -> Map:
        """Three levels of it."""
        return stepped(edge)


class PidiNetSketch(PidiNet):
    """The edges that are more likely than not, in white, for the T2I-Adapter for sketches."""

    name: ClassVar[str] = "pidinet_sketch"
    title: ClassVar[str] = "Sketch, PiDiNet (t2ia_sketch_pidi)"
    union_type: ClassVar[str] = "scribble"

    def chosen(self, edge: Map) -> Map:
        """1 where it is above a half, else 0."""
        return np.asarray(edge > 0.5, np.float32)


class ScribblePidiNet(PidiNet):
    """Soft edges as white strokes."""

    name: ClassVar[str] = "pidinet_scribble"
    title: ClassVar[str] = "Scribble, PiDiNet (scribble_pidinet)"
    union_type: ClassVar[str] = "scribble"

    def finished(self, found: Pixels) -> Pixels:
        """The strokes of the soft edges."""
        return strokes(found)
