"""The faces of a unit: given as embeddings, or found in its picture and its references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lib_ctrlgen.controls.base import DecodedReference, UnitInputs
from lib_ctrlgen.controls.params import FACE
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.faces.align import norm_crop
from lib_ctrlgen.faces.embeddings import read_embeddings
from lib_ctrlgen.faces.face import FACE_CHOICE, Embedding, Face, normed, require_faces, selected
from lib_ctrlgen.faces.ffhq import ffhq_crop
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.schedule import constant

from .reader import Source
from .references import Sources
from .variants import FaceVariant

CROP = 224  # pixels of the aligned face that FaceID-plus encodes, as in tencent-ailab's examples
GRID = (16, 32)
NO_FACE = (
    "a unit for a face needs one: send a picture of it, or its embedding (params.face, or a reference's "
    "'embedding')"
)


@dataclass(frozen=True, kw_only=True)
class UnitFace(Source):
    """A face of a unit: its embedding as the adapter reads it, and the aligned face if there is a picture."""

    numbers: Embedding
    aligned: Image.Image | None = None

    @property
    def look(self) -> Image.Image:
        """What is shown of the face, 224 x 224: itself, or its numbers as grey squares."""
        if self.aligned is not None:
            return self.aligned.resize((CROP, CROP))
        numbers = np.asarray(self.numbers, np.float64).reshape(GRID)
        grey = (numbers - numbers.min()) / max(float(np.ptp(numbers)), 1e-12) * 255
        small = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
        return small.resize((CROP, CROP), Image.Resampling.NEAREST)


def face_sources(job: UnitInputs, store: ModelStore, variant: FaceVariant) -> Sources:
    """The faces of a unit by role: that of `params.face` or of its picture, then those of its references.

    Raises RequestError, also for a unit without a face, or with more of them than the variant takes.
    """
    reader = FaceFinder(job=job, store=store, variant=variant)
    roles = {
        role: tuple(face for each in job.references if each.spec.role == role for face in reader.of(each))
        for role in ("composition", "negative", "reference")
    }
    main = (*reader.own(), *roles["reference"])
    place = f"{job.path}.params.{FACE.name}"
    if not main:
        raise RequestError(place, NO_FACE)
    if variant.most and len(main) > variant.most:
        message = f"{len(main)} faces are given, and the adapter takes at most {variant.most}"
        raise RequestError(place, message)
    return Sources.checked(job, main, roles["composition"], roles["negative"])


@dataclass(frozen=True, kw_only=True)
class FaceFinder:
    """Finds a unit's faces, or reads their embeddings, as a variant of the adapter wants them."""

    job: UnitInputs
    store: ModelStore
    variant: FaceVariant

    def own(self) -> Iterator[UnitFace]:
        """The faces of `params.face`, else of the unit's picture. Raises RequestError."""
        text = str(self.job.params[FACE.name])
        if text:
            own = Source(path=self.job.path, weight=constant(1.0), picture=self.job.given, embedding=text)
            yield from self.given(own, f"{self.job.path}.params.{FACE.name}")
        elif self.job.given is not None:
            own = Source(path=self.job.path, weight=constant(1.0), picture=self.job.given)
            yield from self.found(own, self.job.given)

    def of(self, reference: DecodedReference) -> Iterator[UnitFace]:
        """The faces of a reference. Raises RequestError."""
        text, picture = reference.spec.embedding, reference.picture
        own = Source(path=reference.path, weight=reference.spec.weight, picture=picture, embedding=text)
        if picture is None:
            yield from self.given(own, f"{reference.path}.embedding")
        else:
            yield from self.found(own, picture)

    def given(self, source: Source, path: str) -> Iterator[UnitFace]:
        """The faces of a source's embeddings; FaceID-plus and PuLID need one and the picture of that face.

        Raises RequestError at `path`.
        """
        values, aligned = read_embeddings(source.embedding, path, self.variant.pack).values, None
        if self.variant.crop:
            if source.picture is None or len(values) > 1:
                message = "the adapter also reads the picture of the face: send it beside one embedding"
                raise RequestError(path, message)
            face = self.chosen(source.picture, source.path)[0]
            aligned = self.aligned(source.picture, face, source.path)
        for each in values:
            yield UnitFace(numbers=self.read(each), path=source.path, weight=source.weight, aligned=aligned)

    def found(self, source: Source, picture: Image.Image) -> Iterator[UnitFace]:
        """The chosen faces of a source's picture. Raises RequestError."""
        for face in self.chosen(picture, source.path):
            yield UnitFace(
                numbers=self.read(face.embedding),
                path=source.path,
                weight=source.weight,
                aligned=self.aligned(picture, face, source.path),
            )

    def chosen(self, picture: Image.Image, path: str) -> tuple[Face, ...]:
        """The faces of the picture at `path` that `face_choice` means. Raises RequestError."""
        with at_path(f"{path}.image"):
            faces = find_faces(picture, self.variant.pack, self.store.roots, self.store)
            require_faces(faces)
        choice = str(self.job.params[FACE_CHOICE.name])
        return selected(faces, choice, f"{self.job.path}.params.{FACE_CHOICE.name}")

    def aligned(self, picture: Image.Image, face: Face, path: str) -> Image.Image:
        """A face of the picture at `path`, turned upright: 224 x 224, or wide, 512 x 512.

        Raises RequestError.
        """
        with at_path(f"{path}.image"):
            wide = self.variant.wide
            return ffhq_crop(picture, face.points) if wide else norm_crop(picture, face.points, CROP)

    def read(self, embedding: Embedding) -> Embedding:
        """The embedding as the variant reads it."""
        return normed(embedding) if self.variant.normed else embedding
