"""Depth by LeReS (Yin et al. 2021, Learning to Recover 3D Scene Shape from a Single Image)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import nn

from lib_ctrlgen.request.params import Param

from .base import Comparison
from .network import (
    MEAN,
    SPREAD,
    Map,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    Tensors,
    array,
    between,
    normalised,
    without_prefix,
)
from .packages import building, detector_file

FILE = "leres.leres.multi_depth_model_woauxi"
OWNER = "depth_model."
WHITE = 255


def leres_network(tensors: Tensors) -> nn.Module:
    """The network, which returns the depth, of no unit."""
    del tensors
    file = detector_file(FILE)
    with building(FILE):
        network: nn.Module = file.RelDepthModel(backbone="resnext101").depth_model
    return network


def depth_tensors(tensors: Tensors) -> Tensors:
    """The tensors of the network for depth, without those of the others in its file."""
    own = {key.removeprefix(OWNER): value for key, value in tensors.items() if key.startswith(OWNER)}
    return without_prefix(own or tensors)


def _percent(name: str, label: str) -> Param:
    return Param(name=name, label=label, kind="float", default=0.0, minimum=0.0, maximum=100.0, step=0.1)


class LeresDepth(NetworkPreprocessor):
    """Depth: near is white, far is black."""

    name: ClassVar[str] = "depth_leres"
    title: ClassVar[str] = "Depth, LeReS (depth_leres)"
    params: ClassVar[tuple[Param, ...]] = (
        _percent("remove_near", "Remove near %: what is nearer becomes white"),
        _percent("remove_background", "Remove background %: what is darker becomes black"),
    )
    union_type: ClassVar[str] = "depth"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="res101.pth", build=leres_network, renamed=depth_tensors
    )

    def detect(
        self, pixels: Pixels, remove_near: float = 0.0, remove_background: float = 0.0, **params: Any
    ) -> Pixels:
        """The depth, stretched to 0..255 and inverted.

        The network gets BGR in 0..255 minus ImageNet's mean of RGB in 0..1, as in sd-webui-controlnet.
        """
        del params
        depth = array(self.run(normalised(pixels[:, :, ::-1], MEAN, SPREAD)))
        return nearness(depth, remove_near, remove_background)


def nearness(depth: Map, near: float, background: float) -> Pixels:
    """A depth [H, W] as grey levels, the nearest in white.

    What is within `near` percent of the range is white, and then what is below `background` percent is black.
    """
    levels = np.rint(between(depth) * WHITE).astype(np.uint8)
    inverted = WHITE - _above(levels, near)
    return _above(inverted, background)


def _above(levels: Pixels, percent: float) -> Pixels:
    """The grey levels above a percentage of white, and 0 for the others; all of them for 0 percent."""
    least = int(percent / 100 * WHITE)
    return np.where(levels > least, levels, 0).astype(np.uint8) if percent else levels
