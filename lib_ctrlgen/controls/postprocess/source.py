"""A unit's picture, its holes and its latent at any size, for controls that act after the U-Net."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.controlnet_map import exact_map_at
from lib_ctrlgen.controls.holes import NO_HOLE, fitted, has_border, holes_at
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.store import CachedValues
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.noise_level import Diffusion


class Filler(Protocol):
    """Fills the holes of a picture before it is encoded."""

    @property
    def origin(self) -> tuple[Hashable, ...]:
        """Identifies the filler in cache keys."""

    def __call__(self, picture: Image.Image, holes: NDArray[np.bool_]) -> Image.Image:
        """The picture with the holes [H, W] filled and all other pixels unchanged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The picture of a unit, for controls that act after the U-Net. Latents are cached in the store."""

    job: UnitInputs
    kept: CachedValues
    diffusion: Diffusion
    filler: Filler | None = None

    @staticmethod
    def of(job: UnitInputs, target: Target, filler: Filler | None = None) -> Source:
        """The source of a unit. Raises RequestError if the checkpoint's VAE is not loaded."""
        if target.diffusion is None:
            message = f"{job.unit.preprocessor_label!r} needs the checkpoint's VAE, and none is loaded"
            raise RequestError(f"{job.path}.preprocessor", message)
        return Source(job=job, kept=CachedValues(target.store), diffusion=target.diffusion, filler=filler)

    def colours(self, width: int, height: int) -> Image.Image:
        """The picture at a size in pixels, with the colours that it has in its holes, too."""
        return fitted(self.job, self.job.colours or self.job.picture, width, height)

    def exact(self, width: int, height: int) -> NDArray[Any]:
        """The picture's pixels [height, width, 3] at a size, also in its holes.

        With the semantics of sd-webui-controlnet, cubic interpolation may leave 0..255.
        """
        if self.job.unit.semantics is not None:
            return exact_map_at(self.job, width, height)
        return pixels_of(self.colours(width, height))

    def holes(self, width: int, height: int) -> NDArray[np.bool_]:
        """The holes [H, W] at a size in pixels. Raises RequestError if there are none."""
        holes = np.asarray(holes_at(self.job, width, height))[..., 0] > 0
        if not holes.any() and self.job.unit.semantics is None:
            raise RequestError(f"{self.job.path}.image", NO_HOLE)
        return holes

    def picture(self, width: int, height: int) -> Image.Image:
        """The picture at a size in pixels, with its holes filled if there is a filler."""
        plain = self.colours(width, height)
        return plain if self.filler is None else self.filler(plain, self.holes(width, height))

    def given(self, width: int, height: int) -> Image.Image | Tensor:
        """What is encoded: the picture at a size in pixels."""
        exact = self.job.unit.semantics is not None and chain_of(self.job.unit.preprocessor).marks_holes
        if not exact or self.filler is not None:
            return self.picture(width, height)
        return torch.from_numpy(self.exact(width, height)).permute(2, 0, 1)[None] / 255.0

    def latent(self, height: int, width: int) -> Tensor:
        """The latent [1, 4, h, w] of the picture, float32."""
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def encoded() -> Tensor:
            return self.diffusion.encode(self.given(*size)).float()

        found: Tensor = self.kept(("latent", *self.diffusion.origin(), *self.key(*size)), encoded)
        return found

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """The hashes of the picture and its holes."""
        pictures = (self.job.colours or self.job.picture, self.job.transparent)
        return tuple(image_hash(each) for each in pictures if each is not None)

    def key(self, width: int, height: int) -> tuple[Hashable, ...]:
        """The cache key of the picture at a size: everything that its pixels depend on."""
        filler = self.filler.origin if self.filler else ()
        border = has_border(self.job)
        return (*self.marks, self.job.frame, border, *filler, width, height)
