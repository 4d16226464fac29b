"""Depth by ZoeDepth (Bhat et al. 2023, Zero-shot Transfer by Combining Relative and Metric Depth)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import nn

from .base import Comparison
from .network import (
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    Tensors,
    array,
    fractions,
    grey_levels,
)
from .packages import building, detector_file, own_modules

FOLDER = "zoe.zoedepth"
NEAR, FAR = 2, 85  # percentiles of the depth that become white and black


def zoe_network(tensors: Tensors) -> nn.Module:
    """The network for indoor scenes (NYU), which gets RGB in 0..1 and returns metres. Needs timm."""
    del tensors
    file = detector_file(f"{FOLDER}.models.zoedepth.zoedepth_v1")
    settings = detector_file(f"{FOLDER}.utils.config").get_config("zoedepth", "infer")
    with building(FOLDER), own_modules("midas", "hubconf"):
        network: nn.Module = file.ZoeDepth.build_from_config(settings)
    return network


class ZoeDepth(NetworkPreprocessor):
    """Depth: near is white, far is black."""

    name: ClassVar[str] = "depth_zoe"
    title: ClassVar[str] = "Depth, ZoeDepth (depth_zoe)"
    union_type: ClassVar[str] = "depth"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="ZoeD_M12_N.pt", build=zoe_network, computed="relative_position_index"
    )

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The depth between two percentiles; the mean of the picture's and of the mirrored picture's."""
        del params
        depth = array(self.run(fractions(pixels), "infer"))
        near, far = np.percentile(depth, [NEAR, FAR])
        return grey_levels(1 - (depth - near) / ((far - near) or 1.0))
