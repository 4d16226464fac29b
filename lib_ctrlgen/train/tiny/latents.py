"""Draws and encodes scenes once; later stages read the latents."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from .data import HELD_OUT, to_tensor
from .networks import SCALE_FACTOR
from .scenes import Scene, draw, random_scene

log = logging.getLogger("ctrlgen.train")

SIZES: tuple[tuple[tuple[int, int], float], ...] = (  # (height, width) in pixels, share of scenes
    ((128, 128), 0.86),
    ((64, 64), 0.03),
    ((96, 160), 0.03),
    ((160, 96), 0.03),
    ((192, 192), 0.035),
    ((256, 256), 0.015),
)
CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Encoded scenes of one size: seeds [N] and latents [N, 4, h, w] of standard deviation 1."""

    size: tuple[int, int]
    seeds: NDArray[np.int64]
    values: NDArray[np.float16]

    def scene(self, index: int) -> Scene:
        """The scene of a row."""
        return scene_of(int(self.seeds[index]))


@lru_cache(maxsize=20_000)
def scene_of(seed: int) -> Scene:
    """The scene of a seed."""
    return random_scene(np.random.default_rng(seed))


@torch.no_grad()
def moments(vae: AutoencoderKL, count: int = 256) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [4] of the latent channels over training scenes."""
    found = [mean for mean, _ in _encoded(vae, np.arange(count), (128, 128))]
    values = torch.cat(found)
    return values.mean((0, 2, 3)), values.std((0, 2, 3))


def build(vae: AutoencoderKL, folder: Path, count: int, seed: int) -> list[Latents]:
    """Encode `count` training scenes in all sizes and save them in `folder`, or load them from there."""
    rng = np.random.default_rng(seed)
    seeds = rng.choice(HELD_OUT, count, replace=False)
    shares = np.cumsum([round(count * share) for _, share in SIZES])[:-1]
    groups = np.split(seeds, shares)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _build_one(vae, folder, size, group)
        for (size, _), group in zip(SIZES, groups, strict=True)
        if len(group)
    ]


def _build_one(vae: AutoencoderKL, folder: Path, size: tuple[int, int], seeds: NDArray[np.int64]) -> Latents:
    path = folder / f"{size[0]}x{size[1]}.npy"
    if not path.exists():
        encoded = [mean * SCALE_FACTOR for mean, _ in _encoded(vae, seeds, size)]
        np.save(path, torch.cat(encoded).half().numpy())
        log.info("encoded %d scenes of %s", len(seeds), size)
    return Latents(size=size, seeds=seeds, values=np.load(path))


@torch.no_grad()
def _encoded(
    vae: AutoencoderKL, seeds: NDArray[np.int64], size: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The posteriors' means and standard deviations, in chunks; a thread draws the next chunk meanwhile."""
    chunks = [seeds[k : k + CHUNK] for k in range(0, len(seeds), CHUNK)]

    def pictures(chunk: NDArray[np.int64]) -> Tensor:
        return to_tensor([draw(scene_of(int(seed)), size)[0] for seed in chunk])

    with ThreadPoolExecutor(1) as pool:
        for drawn in pool.map(pictures, chunks):
            posterior = vae.encode(drawn).latent_dist
            yield posterior.mean, posterior.std


def pick(stores: list[Latents], rng: np.random.Generator, batch: int) -> tuple[Latents, list[int]]:
    """Choose a size and some of its scenes; batches of larger pictures are smaller."""
    total = np.array([len(store.seeds) for store in stores], float)
    store = stores[int(rng.choice(len(stores), p=total / total.sum()))]
    area = store.size[0] * store.size[1] / 128**2
    count = max(4, round(batch / max(area, 0.5)))
    return store, [int(k) for k in rng.integers(len(store.values), size=count)]
