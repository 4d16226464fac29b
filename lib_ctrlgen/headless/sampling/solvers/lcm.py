"""Sampling of consistency models: algorithm 1 of Song et al. 2023, algorithm 3 of Luo et al. 2023."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import Tensor

from lib_ctrlgen.headless.sampling.denoisers import LcmDenoiser


def lcm(model: LcmDenoiser, x: Tensor, sigmas: Tensor, noise: Callable[..., Tensor]) -> Tensor:
    """At every step predict the clean latents, and add noise of the next level."""
    for sigma, coming in itertools.pairwise(sigmas):
        x = model(x, sigma.to(x.device).expand(len(x)))
        if coming > 0:
            x = x + coming * noise(sigma, coming)
    return x
