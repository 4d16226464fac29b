"""Depth by LeReS in more detail, merged from depths at several sizes (see `depth_merging`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from torch import nn

from .depth_merging import Networks, detailed_depth, resized
from .isolated.terms import require_not_cancelled
from .leres import LeresDepth, nearness
from .network import MEAN, SPREAD, Map, Pixels, PublishedNetwork, Tensors, array, batch_of, normalised
from .packages import building, detector_file

FILE = "leres.pix2pix.models.networks"
DEPTHS, MERGED, HALVINGS, WIDTH = 2, 1, 10, 64


def merging_network(tensors: Tensors) -> nn.Module:
    """The U-Net (pix2pix, Isola et al. 2017), which gets two depths in -1..1 and returns one."""
    del tensors
    file = detector_file(FILE)
    with building(FILE):
        network: nn.Module = file.UnetGenerator(DEPTHS, MERGED, HALVINGS, WIDTH, norm_layer=nn.Identity)
    return network


class LeresBoost(LeresDepth):
    """Depth in more detail: near is white, far is black. The network runs twice, and twice for each area."""

    name: ClassVar[str] = "depth_leres++"
    title: ClassVar[str] = "Depth in more detail, LeReS (depth_leres++)"
    merging: ClassVar[PublishedNetwork] = PublishedNetwork(weights="latest_net_G.pth", build=merging_network)

    def weight_files(self) -> tuple[Path, ...]:
        """The files of both networks. Raises ModelError."""
        return (*self.network.files(self.store), *self.merging.files(self.store))

    def detect(
        self, pixels: Pixels, remove_near: float = 0.0, remove_background: float = 0.0, **params: Any
    ) -> Pixels:
        """The depth, stretched to 0..255 and inverted. Raises HostError between two areas if cancelled."""
        del params
        self.weight_files()  # both, before one is read
        with self.loaded(self.network, self.merging) as (leres, merging):

            def depth(seen: Pixels, side: int) -> Map:
                require_not_cancelled(self.name)
                square = np.asarray(cv2.resize(seen[:, :, ::-1], (side, side)))
                found = array(leres(batch_of(normalised(square, MEAN, SPREAD), self.device)))
                return resized(found, (seen.shape[1], seen.shape[0]))

            def merge(consistent: Map, detailed: Map) -> Map:
                both = np.stack((consistent, detailed), axis=2)
                return np.asarray((array(merging(batch_of(both, self.device))) + 1) / 2, np.float32)

            found = detailed_depth(pixels, Networks(depth, merge))
        return nearness(found, remove_near, remove_background)
