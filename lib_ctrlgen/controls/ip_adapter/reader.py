"""Reads the references of an IP-Adapter unit: pictures with a CLIP vision encoder."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Protocol, TypeAlias

import cv2
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.params import IMAGE_ENCODER
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.picture_noise import noised
from lib_ctrlgen.images.sharpen import sharpened
from lib_ctrlgen.images.squares import Grid, square_at
from lib_ctrlgen.models.clip_vision import EncoderFolder, centre_square, find_encoder, load_tower
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.schedule import Schedule

from .combine import Features
from .file import AdapterWeights

TOGETHER = 16  # squares that are encoded in one call
WeighedFeatures: TypeAlias = tuple[Features, float]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One reference of a unit: a picture (RGB) or the text of an embedding, its weight, and its JSON path."""

    path: str
    weight: Schedule
    picture: Image.Image | None = None
    embedding: str = ""


class ReferenceReader(Protocol):
    """Reads references to the features that an adapter's projection takes, each once for a store."""

    @property
    def loaded(self) -> Mapping[str, str]:
        """The names and hashes of the models that read, by the unit's parameter that names one."""

    @property
    def grid(self) -> Grid | None:
        """How pictures are cut into tiles; None: not at all."""

    def tiles(self, source: Source) -> tuple[tuple[WeighedFeatures, ...], ...]:
        """The features of each tile of a reference; of the whole one without a grid. Raises RequestError.

        A tile has one or more sets of features, each with a factor of the reference's weight.
        """

    def whole(self, source: Source) -> Features:
        """The features of a reference that is not cut. Raises RequestError."""

    def noise(self, source: Source) -> Features:
        """The features of a reference with the unit's negative noise. Raises RequestError."""

    def null(self) -> Features:
        """What unconditional rows have without a negative picture or noise."""

    def seen(self, source: Source) -> Sequence[Image.Image]:
        """What is seen of a reference: squares, for the unit's control map."""


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Reads pictures with a CLIP vision encoder, which is loaded only for a picture that is not known yet."""

    weights: AdapterWeights
    store: ModelStore
    placement: Placement
    folder: EncoderFolder
    job: UnitInputs
    grid: Grid | None

    @classmethod
    def of(cls, weights: AdapterWeights, job: UnitInputs, target: Target, first: Source) -> ClipReader:
        """The reader of a unit, whose first reference decides the tiles. Raises RequestError."""
        encoder = str(job.params[IMAGE_ENCODER.name])
        with at_path(encoder_at(job)):
            folder = find_encoder(target.store, weights.feature, weights.width, encoder)
        size = _picture(first).size
        return cls(
            weights=weights,
            store=target.store,
            placement=target.placement,
            folder=folder,
            job=job,
            grid=Grid.of(size, int(job.params["tiles"])),
        )

    @property
    def loaded(self) -> Mapping[str, str]:
        """The encoder's name and hash."""
        return {IMAGE_ENCODER.name: self.folder.label(self.store)}

    @property
    def crop(self) -> str:
        """Which part of a picture is seen."""
        return str(self.job.params["crop"])

    def tiles(self, source: Source) -> tuple[tuple[WeighedFeatures, ...], ...]:
        """The features of each tile of a picture and of its details. Raises RequestError for an embedding."""
        return tuple(self._detailed(tile) for tile in self._cut(source))

    def _detailed(self, picture: Image.Image) -> tuple[WeighedFeatures, ...]:
        """The features of a picture, and with `enhance_tiles` those of n x n parts, pooled to one set."""
        whole, count = self._features(picture), int(self.job.params["enhance_tiles"])
        if count == 1:
            return ((whole, 1.0),)
        parts = Grid(count, count, 1.0).cut(square_at(picture, self.crop), "center")
        key = ("parts", count, *self._key(picture))
        details = self._encoded(key, lambda: [self._look(part) for part in parts], count)
        return (whole, float(self.job.params["enhance_ratio"])), (details, 1.0)

    def whole(self, source: Source) -> Features:
        """The features of a whole picture. Raises RequestError for an embedding."""
        return self._features(_picture(source))

    def noise(self, source: Source) -> Features:
        """The features of a picture with the unit's negative noise. Raises RequestError for an embedding."""
        picture, params = _picture(source), self.job.params
        kind, strength = str(params["negative_noise"]), float(params["negative_noise_strength"])
        return self._features(picture, (kind, strength), lambda look: noised(look, kind, strength))

    def seen(self, source: Source) -> list[Image.Image]:
        """The squares that the encoder sees of a picture."""
        return [self._look(tile) for tile in self._cut(source)]

    def null(self) -> Features:
        """Zeros: in place of the embedding (plain), or encoded, in place of the pixels (the others).

        They are zeros after normalisation, as in the official code (tencent-ailab).
        """
        if self.weights.feature == "pooled":
            return (torch.zeros(1, self.weights.width),)
        return self._encoded(("zeros",), None)

    def _cut(self, source: Source) -> tuple[Image.Image, ...]:
        picture = _picture(source)
        return (picture,) if self.grid is None else self.grid.cut(picture, self.crop)

    def _look(self, picture: Image.Image) -> Image.Image:
        """The square that the encoder sees of a picture."""
        if self.job.unit.semantics is not None:
            own = self.job.colours if picture is self.job.given else None
            return stretched(own or picture, self.folder.size)
        square = picture if self.crop == "center" else square_at(picture, self.crop)
        return sharpened(centre_square(square, self.folder.size), float(self.job.params["sharpening"]))

    def _visible(self, picture: Image.Image) -> Tensor | None:
        """What the normalised pixels are multiplied by, [size, size]: 0 where a picture is masked."""
        hidden = self.job.transparent
        if self.job.unit.semantics is None or picture is not self.job.given or hidden is None:
            return None
        return 1 - torch.from_numpy(pixels_of(stretched(hidden, self.folder.size))[..., 0]) / 255.0

    def _key(self, picture: Image.Image) -> tuple[Hashable, ...]:
        """What the square that is seen of a picture depends on."""
        crop = self.crop if self.job.unit.semantics is None else "stretched"
        hidden = self.job.transparent if self.job.unit.semantics is not None else None
        marks = () if hidden is None else (image_hash(hidden),)
        return *marks, image_hash(picture), crop, float(self.job.params["sharpening"])

    def _features(
        self,
        picture: Image.Image,
        change: Hashable = None,
        changed: Callable[[Image.Image], Image.Image] = lambda look: look,
    ) -> Features:
        looks, key = (lambda: [changed(self._look(picture))]), (change, *self._key(picture))
        return self._encoded(key, looks, visible=self._visible(picture))

    def _encoded(
        self,
        key: tuple[Hashable, ...],
        looks: Callable[[], Sequence[Image.Image]] | None,
        count: int = 1,
        visible: Tensor | None = None,
    ) -> Features:
        """The encoder's output for a square, or without one for zeros; computed once for a store.

        With a `count` n there are n * n squares, whose outputs are pooled to one set. `visible` multiplies
        the normalised pixels.
        """

        def compute() -> Tensor:
            tower = load_tower(self.store, self.folder, self.placement)
            pixels = tower.zeros() if looks is None else torch.cat([tower.pixels(look) for look in looks()])
            pixels = pixels if visible is None else pixels * visible.to(pixels)
            with tower.weights.present():
                parts = [tower.feature(some, self.weights.feature) for some in torch.split(pixels, TOGETHER)]
            return torch.cat(parts) if count == 1 else pooled_parts(torch.cat(parts), count)

        whole = (*key, self.folder.weights, self.placement, self.weights.feature)
        with at_path(encoder_at(self.job)):
            return (self.store.cached(whole, compute),)


def stretched(picture: Image.Image, size: int) -> Image.Image:
    """A picture stretched to a square by area averaging, as sd-webui-controlnet shows it to an encoder."""
    return Image.fromarray(cv2.resize(pixels_of(picture), (size, size), interpolation=cv2.INTER_AREA))


def encoder_at(job: UnitInputs) -> str:
    """The JSON path of a unit's image encoder, for errors: the field that names it, or the model's."""
    named = job.params[IMAGE_ENCODER.name]
    return f"{job.path}.params.{IMAGE_ENCODER.name}" if named else f"{job.path}.model"


def pooled_parts(parts: Tensor, count: int) -> Tensor:
    """One picture's features from those of its n x n parts, row by row (ClipVisionEnhancer, cubiq).

    Pooled embeddings [n * n, P] become their mean [1, P]. Of hidden states [n * n, 1 + s * s, H] the first
    tokens are averaged, and the grid of the others, n * s wide, is averaged to s: [1, 1 + s * s, H].
    """
    if parts.ndim == 2:
        return parts.mean(0, keepdim=True)
    side = isqrt(parts.shape[1] - 1)
    grid = parts[:, 1:].reshape(count, count, side, side, -1).permute(4, 0, 2, 1, 3)
    whole = grid.reshape(1, -1, count * side, count * side)
    cells = functional.avg_pool2d(whole.float(), count).flatten(2).transpose(1, 2).to(parts)
    return torch.cat((parts[:, :1].mean(0, keepdim=True), cells), dim=1)


def _picture(source: Source) -> Image.Image:
    if source.picture is None:
        message = "this adapter looks at pictures: give 'image'; embeddings of faces are for face adapters"
        raise RequestError(f"{source.path}.embedding", message)
    return source.picture
