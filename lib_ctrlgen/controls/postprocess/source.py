"""A unit's picture, its holes and its latent at the sizes that are asked for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.holes import NO_HOLE, fitted, has_border, holes_at
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.store import CachedValues
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.noise_level import Diffusion


class Filler(Protocol):
    """Fills the holes of a picture before it is encoded."""

    @property
    def origin(self) -> tuple[Hashable, ...]:
        """Names it, as part of a key."""

    def __call__(self, picture: Image.Image, holes: NDArray[np.bool_]) -> Image.Image:
        """The picture with the holes [H, W] filled; the rest is as it was."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a control that acts after the U-Net knows of its unit. Latents are kept in the store."""

    job: UnitInputs
    kept: CachedValues
    diffusion: Diffusion
    filler: Filler | None = None

    @staticmethod
    def of(job: UnitInputs, target: Target, filler: Filler | None = None) -> Source:
        """The source of a unit. Raises RequestError if the checkpoint's VAE is not loaded."""
        if target.diffusion is None:
            message = (
                f"{job.unit.preprocessor!r} needs the checkpoint's VAE, and none is loaded: choose another"
            )
            raise RequestError(f"{job.path}.preprocessor", message)
        return Source(job=job, kept=CachedValues(target.store), diffusion=target.diffusion, filler=filler)

    def colours(self, width: int, height: int) -> Image.Image:
        """The picture at a size, in its own colours also in the holes."""
        return fitted(self.job, self.job.colours or self.job.picture, width, height)

    def holes(self, width: int, height: int) -> NDArray[np.bool_]:
        """The holes [H, W] at a size. Raises RequestError where there is none."""
        holes = np.asarray(holes_at(self.job, width, height))[..., 0] > 0
        if not holes.any():
            raise RequestError(f"{self.job.path}.image", NO_HOLE)
        return holes

    def picture(self, width: int, height: int) -> Image.Image:
        """The picture at a size, its holes filled where there is a filler."""
        plain = self.colours(width, height)
        return plain if self.filler is None else self.filler(plain, self.holes(width, height))

    def latent(self, height: int, width: int) -> Tensor:
        """The latent [1, 4, h, w] of the picture at a latent's size, float32."""
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def encoded() -> Tensor:
            return self.diffusion.encode(self.picture(*size)).float()

        found: Tensor = self.kept(("latent", *self.diffusion.origin(), *self.key(*size)), encoded)
        return found

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """The hashes of the picture and its holes."""
        given = (self.job.colours or self.job.picture, self.job.transparent)
        return tuple(image_hash(each) for each in given if each is not None)

    def key(self, width: int, height: int) -> tuple[Hashable, ...]:
        """What the picture of a size is made of."""
        filler = self.filler.origin if self.filler else ()
        border = has_border(self.job)
        return (*self.marks, self.job.frame, border, *filler, width, height)
