"""Line art of photographs (Chan, Durand and Isola 2022, Learning to Generate Line Drawings)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from .base import Comparison
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, Tensors, array, fractions, grey_levels
from .packages import detector_file

COLOURS, LINES, BLOCKS = 3, 1, 3


def lineart_network(tensors: Tensors) -> nn.Module:
    """The generator, which gets RGB in 0..1 and returns black lines on white, in 0..1."""
    del tensors
    network: nn.Module = detector_file("lineart").Generator(COLOURS, LINES, BLOCKS)
    return network


class Lineart(NetworkPreprocessor):
    """Fine white lines, as a draughtsman would draw the picture."""

    name: ClassVar[str] = "lineart"
    title: ClassVar[str] = "Line art, realistic (lineart_realistic)"
    union_type: ClassVar[str] = "lineart"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="sk_model.pth", build=lineart_network)

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The generator's lines in white on black."""
        del params
        return 255 - grey_levels(array(self.run(fractions(pixels))))


class LineartCoarse(Lineart):
    """Fewer and bolder lines."""

    name: ClassVar[str] = "lineart_coarse"
    title: ClassVar[str] = "Line art, coarse (lineart_coarse)"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="sk_model2.pth", build=lineart_network)
