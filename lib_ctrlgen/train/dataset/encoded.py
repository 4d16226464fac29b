"""Encodes the pictures of a training: latents, loss masks, and what a method needs of reference pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.images.resize import soft
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.methods.base import Base, TrainingMethod

from .backgrounds import replaced, variants
from .buckets import Framing, framing
from .cache import TensorCache
from .views import View

LATENT = 8  # pixels per latent
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """A view with one background, mirrored or not: mean and standard deviation [4, h, w] of its latent.

    weights is the mask of the loss [1, h, w]; reference is what the method computed of the whole picture.
    With a reference, the background is the reference's alone, and the latent is that of the picture as it is.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor | None = None
    reference: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedView:
    """A view with all its versions, and the numbers that SDXL's U-Net reads of its size."""

    caption: str
    sizes: tuple[int, ...]
    versions: tuple[Version, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its latents."""
        _, height, width = self.versions[0].mean.shape
        return height, width


@dataclass(frozen=True, kw_only=True)
class ViewEncoder:
    """Encodes views for a training. `cached` keeps what it computed."""

    spec: TrainingSpec
    base: Base
    method: TrainingMethod
    cached: TensorCache
    method_key: str = ""

    def encode(self, views: Sequence[View], progress: Progress | None = None) -> tuple[EncodedView, ...]:
        """Encode views in their order; `progress(done, total)` is called after each. Raises RequestError."""
        found = []
        for number, view in enumerate(views):
            found.append(self._view(view))
            if progress is not None:
                progress(number + 1, len(views))
        return tuple(found)

    def try_latent(self, view: View) -> float:
        """Read and encode a view as `encode` does, without the cache; returns a number of the result."""
        return float(self._latent(self._placed(view).picture(view.read()[0]))["mean"].mean())

    def try_reference(self, view: View) -> float:
        """The same for what the method computes of reference pictures; 0 for a method without them."""
        found = self._reference(view.read()[0])
        return float(found["reference"].mean()) if found else 0.0

    def _placed(self, view: View) -> Framing:
        return framing(view.width, view.height, self.spec.resolution, buckets=self.spec.buckets)

    def _view(self, view: View) -> EncodedView:
        placed = self._placed(view)
        return EncodedView(
            caption=view.caption,
            sizes=placed.sizes,
            versions=tuple(self._version(view, placed, *which) for which in self._which(view)),
        )

    def _which(self, view: View) -> Iterator[tuple[int, bool]]:
        """The number of the background, and whether it is mirrored, of each version."""
        for variant in range(variants(self.spec.background, masked=view.masked)):
            for mirrored in (False, True) if self.spec.flip else (False,):
                yield variant, mirrored

    def _version(self, view: View, placed: Framing, variant: int, mirrored: bool) -> Version:
        background = self.spec.background if view.masked else "keep"
        key = view.digest, background, self.spec.seed if background == "random" else 0, variant, mirrored
        opened = _Opened(view, background, (self.spec.seed, int(view.digest[:8], 16), variant), mirrored)
        reference = self.cached.get(
            ("reference", self.method.name, self.method_key, *key), lambda: self._reference(opened.picture)
        )
        if reference:  # its background is replaced, that of the picture itself is what the caption says
            key = view.digest, "keep", 0, 0, mirrored
            opened = _Opened(view, "keep", (), mirrored)
        latents = self.cached.get(
            ("latent", *key, placed), lambda: self._latent(placed.picture(opened.picture))
        )
        return Version(
            mean=latents["mean"],
            std=latents["std"],
            weights=_loss_mask(opened, placed) if self.spec.masked_loss else None,
            reference=reference.get("reference"),
        )

    @torch.no_grad()
    def _latent(self, picture: Image.Image) -> Mapping[str, Tensor]:
        vae = self.base.networks.vae
        pixels = (to_hint(picture) * 2 - 1).to(vae.device, vae.dtype)
        found = vae.encode(pixels).latent_dist
        scale = float(vae.config.scaling_factor)
        return {"mean": found.mean[0].float() * scale, "std": found.std[0].float() * scale}

    @torch.no_grad()
    def _reference(self, picture: Image.Image) -> Mapping[str, Tensor]:
        found = self.method.references([picture])
        return {} if found is None else {"reference": found[0]}


class _Opened:
    """A view's picture with its background, read when it is first needed."""

    def __init__(self, view: View, background: str, key: tuple[int, ...], mirrored: bool) -> None:
        self.view, self.background, self.key, self.mirrored = view, background, key, mirrored
        self._read: tuple[Image.Image, NDArray[np.float32] | None] | None = None

    def _both(self) -> tuple[Image.Image, NDArray[np.float32] | None]:
        if self._read is None:
            picture, mask = self.view.read()
            picture = replaced(picture, mask, self.background, self.key)
            if self.mirrored:
                picture = ImageOps.mirror(picture)
                mask = None if mask is None else np.ascontiguousarray(mask[:, ::-1])
            self._read = picture, mask
        return self._read

    @property
    def picture(self) -> Image.Image:
        """The RGB picture."""
        return self._both()[0]

    @property
    def mask(self) -> NDArray[np.float32] | None:
        """Where the subject is, [H, W] in 0..1."""
        return self._both()[1]


def _loss_mask(opened: _Opened, placed: Framing) -> Tensor | None:
    if opened.mask is None:
        return None
    small = soft(placed.mask(opened.mask), placed.width // LATENT, placed.height // LATENT)
    return torch.from_numpy(np.ascontiguousarray(small))[None]
