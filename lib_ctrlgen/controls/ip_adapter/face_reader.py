"""Makes of a face what the head of an adapter reads: its embedding, and for FaceID-plus its CLIP features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.params import IMAGE_ENCODER
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.faces.face import WIDTH, Embedding
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.squares import Grid
from lib_ctrlgen.models.clip_vision import EncoderFolder, find_encoder, load_tower

from .combine import Features
from .file import AdapterWeights
from .reader import Source, WeighedFeatures
from .resampler import Resampler
from .unit_faces import UnitFace
from .variants import FaceVariant


@dataclass(frozen=True, kw_only=True)
class FaceReader:
    """Reads a unit's faces, see `ReferenceReader`. `folder` is FaceID-plus's encoder, None for the others."""

    weights: AdapterWeights
    target: Target
    path: str
    folder: EncoderFolder | None

    @classmethod
    def of(cls, weights: AdapterWeights, job: UnitInputs, target: Target, variant: FaceVariant) -> FaceReader:
        """The reader of a unit. Raises RequestError where the encoder is missing."""
        name, folder = str(job.params[IMAGE_ENCODER.name]), None
        path = f"{job.path}.params.{IMAGE_ENCODER.name}" if name else f"{job.path}.model"
        if variant.crop:
            with at_path(path):
                folder = find_encoder(target.store, weights.feature, weights.width, name)
        return cls(weights=weights, target=target, path=path, folder=folder)

    @property
    def loaded(self) -> Mapping[str, str]:
        """The encoder's name and hash, if there is one."""
        return {IMAGE_ENCODER.name: self.folder.label(self.target.store)} if self.folder else {}

    @property
    def grid(self) -> Grid | None:
        """None: a face is not cut into tiles."""
        return None

    def tiles(self, source: Source) -> tuple[tuple[WeighedFeatures, ...], ...]:
        """The features of a face, which is one tile."""
        return (((self.whole(source), 1.0),),)

    def whole(self, source: Source) -> Features:
        """The features of a face: embedding [1, 512], and CLIP features [1, N, C] where they are read."""
        face = as_face(source)
        return self._features(face.numbers, face.aligned)

    def noise(self, source: Source) -> Features:
        """Raises RequestError: an embedding has no noise."""
        raise RequestError(source.path, "a face takes no noise")

    def null(self) -> Features:
        """Zeros as the embedding, and zeros after normalisation as the encoder's pixels."""
        return self._features((0.0,) * WIDTH, None)

    def seen(self, source: Source) -> Sequence[Image.Image]:
        """What is shown of a face."""
        return [as_face(source).look]

    def _features(self, numbers: Embedding, aligned: Image.Image | None) -> Features:
        identity = torch.tensor([numbers], dtype=torch.float32)
        if isinstance(self.weights.projection, Resampler):
            return (identity[:, None],)  # one token [1, 1, 512]
        return (identity,) if self.folder is None else (identity, self._encoded(self.folder, aligned))

    def _encoded(self, folder: EncoderFolder, aligned: Image.Image | None) -> Tensor:
        """The encoder's output for an aligned face, or for zeros; computed once for a store."""
        store, placement, feature = self.target.store, self.target.placement, self.weights.feature

        def compute() -> Tensor:
            tower = load_tower(store, folder, placement)
            return tower.feature(tower.zeros() if aligned is None else tower.pixels(aligned), feature)

        name = "zeros" if aligned is None else image_hash(aligned)
        with at_path(self.path):
            return store.cached(("face", name, folder.weights, placement, feature), compute)


def as_face(source: Source) -> UnitFace:
    """A source that is a face. Raises TypeError for others."""
    if not isinstance(source, UnitFace):
        raise TypeError(f"{type(source).__name__} is no face")
    return source
