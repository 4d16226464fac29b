"""Seeds and initial noise of pictures, mixed where a blend asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from lib_ctrlgen.blending.masks import blended_noise
from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.spec import GenerationRequest

from .conditions import trajectory_of

CHANNELS = 4


def seeds_of(request: GenerationRequest) -> tuple[int, ...]:
    """The seed of each picture; along a trajectory the seed of the nearest concept, or the request's."""
    trajectory = trajectory_of(request)
    if trajectory is None or request.blend is None:
        return tuple(request.seed + i for i in range(request.batch_size))
    return trajectory.seeds(request.blend, request.seed)


def generators_of(seeds: Sequence[int]) -> list[Generator]:
    """CPU generators for these seeds, so that a seed gives the same noise on every device."""
    return [Generator("cpu").manual_seed(seed) for seed in seeds]


def first_noise(
    request: GenerationRequest, generators: Sequence[Generator], trajectory: Trajectory | None = None
) -> Tensor:
    """The initial noise [B, 4, h, w], each picture's from its own generator.

    Raises RequestError for a blend of img2img pictures, which only the WebUI has.
    """
    size = (CHANNELS, request.height // 8, request.width // 8)
    noise = torch.cat([torch.randn((1, *size), generator=g) for g in generators])
    if trajectory is not None:
        return trajectory.crossfed(noise, 1.0)
    if request.blend is not None and request.blend.mode == "seeds":
        return _mixed(request.blend, noise)
    return noise


def _mixed(blend: Blend, noise: Tensor) -> Tensor:
    if blend.concepts[0].image:
        raise RequestError("$.blend.concepts[0].image", "so far img2img pictures are mixed in the WebUI only")
    noises = [noise if c.seed is None else _of_seed(c.seed, noise) for c in blend.concepts]
    return blended_noise(blend, noises)


def _of_seed(seed: int, like: Tensor) -> Tensor:
    return torch.randn((1, *like.shape[1:]), generator=Generator("cpu").manual_seed(seed)).expand_as(like)
