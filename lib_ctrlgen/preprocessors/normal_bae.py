"""Surface normals (Bae, Budvytis and Cipolla 2021, Estimating and Exploiting the Aleatoric Uncertainty)."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from torch import nn

from .base import Comparison
from .network import (
    MEAN,
    SPREAD,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    Tensors,
    fractions,
    grey_levels,
    normalised,
)
from .packages import building, detector_file, own_modules

FILE = "normalbae.nets.NNET"


def bae_network(tensors: Tensors) -> nn.Module:
    """The network, which gets RGB normalised as ImageNet and returns normals at four sizes."""
    del tensors
    file = detector_file(FILE)
    settings = SimpleNamespace(architecture="BN", sampling_ratio=0.4, importance_ratio=0.7)
    with building(FILE), own_modules("geffnet", "hubconf"), redirect_stdout(io.StringIO()):
        network: nn.Module = file.NNET(settings)
    return network


class NormalBae(NetworkPreprocessor):
    """Surface normals as colours."""

    name: ClassVar[str] = "normal_bae"
    title: ClassVar[str] = "Surface normals, BAE (normal_bae)"
    union_type: ClassVar[str] = "normal"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="scannet.pt", build=bae_network)

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The normals of the largest size: -1..1 becomes 0..255 in each channel."""
        del params
        largest = self.run(normalised(fractions(pixels), MEAN, SPREAD))[0][-1]
        vectors = np.asarray(largest[0, :3].permute(1, 2, 0).float().cpu().numpy())
        return grey_levels((vectors + 1) / 2)
