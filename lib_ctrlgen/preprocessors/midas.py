"""Depth and surface normals by MiDaS (Ranftl et al. 2021, Vision Transformers for Dense Prediction)."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from torch import nn

from lib_ctrlgen.request.params import Param

from .base import Comparison
from .network import (
    Map,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    Tensors,
    array,
    between,
    grey_levels,
)
from .packages import building, detector_file

FILE = "midas.midas.dpt_depth"
STEEPNESS = 2 * np.pi  # the normals' share towards the viewer, before they get the length 1


def midas_network(tensors: Tensors) -> nn.Module:
    """DPT-Hybrid, which gets RGB in -1..1 and returns the inverse of the depth, of no unit. Needs timm."""
    del tensors
    file = detector_file(FILE)
    with building(FILE):
        network: nn.Module = file.DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True)
    return network


class MidasDepth(NetworkPreprocessor):
    """Depth: near is white, far is black."""

    name: ClassVar[str] = "depth"
    title: ClassVar[str] = "Depth, MiDaS (depth_midas)"
    union_type: ClassVar[str] = "depth"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="dpt_hybrid-midas-501f0c75.pt", build=midas_network
    )

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The network's result, stretched to 0..255."""
        del params
        return grey_levels(between(self.nearness(pixels)))

    def nearness(self, pixels: Pixels) -> Map:
        """The inverse of the depth [H, W]."""
        return array(self.run(pixels.astype(np.float32) / np.float32(127.5) - 1))


class MidasNormals(MidasDepth):
    """Surface normals, from the slopes of the depth."""

    name: ClassVar[str] = "normal_map"
    title: ClassVar[str] = "Surface normals, MiDaS (normal_midas)"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="background_threshold",
            label="Normal background threshold: what is farther away is flat (0: farthest)",
            kind="float",
            default=0.4,
            minimum=0.0,
            maximum=1.0,
            step=0.01,
        ),
    )
    union_type: ClassVar[str] = "normal"

    def detect(self, pixels: Pixels, background_threshold: float = 0.4, **params: Any) -> Pixels:
        """The normals [H, W, 3] of the depth."""
        del params
        return normals(self.nearness(pixels), background_threshold)


def normals(nearness: Map, threshold: float) -> Pixels:
    """The unit vectors (towards the viewer, down, right) as colours: -1..1 becomes 0..255.

    They come from Sobel's slopes of the inverse depth [H, W]; where this is below `threshold` of its range,
    the surface faces the viewer. The order of the channels is that of sd-webui-controlnet.
    """
    right, down = (np.asarray(cv2.Sobel(nearness, cv2.CV_32F, *axis, ksize=3)) for axis in ((1, 0), (0, 1)))
    far = between(nearness) < threshold
    vectors = np.stack([np.full_like(right, STEEPNESS), np.where(far, 0, down), np.where(far, 0, right)], 2)
    units = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.asarray((units * 127.5 + 127.5).clip(0, 255), np.uint8)
