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
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.models.store import ModelStore

from .variants import FaceVariant

CROP = 224  # pixels of the aligned face that FaceID-plus encodes, as in tencent-ailab's examples
GRID, SQUARE = (16, 32), 8
NO_FACE = (
    "a unit for a face needs one: send a picture of it, or its embedding (params.face, or a reference's "
    "'embedding')"
)


@dataclass(frozen=True, kw_only=True)
class UnitFace:
    """A face of a unit: its embedding as the adapter reads it, and the aligned face if there is a picture.

    `path` is the JSON path of what it comes from.
    """

    embedding: Embedding
    path: str
    aligned: Image.Image | None = None


def unit_faces(job: UnitInputs, store: ModelStore, variant: FaceVariant) -> tuple[UnitFace, ...]:
    """The faces of a unit: that of `params.face` or of its picture, then those of its references.

    Raises RequestError, also for a unit without a face, or with more of them than the variant takes.
    """
    reader = FaceReader(store=store, variant=variant, choice=str(job.params[FACE_CHOICE.name]), job=job)
    found = tuple(reader.faces())
    place = f"{job.path}.params.{FACE.name}"
    if not found:
        raise RequestError(place, NO_FACE)
    if variant.most and len(found) > variant.most:
        raise RequestError(
            place, f"{len(found)} faces are given, and the adapter takes at most {variant.most}"
        )
    if variant.crop:
        lacking = next((face.path for face in found if face.aligned is None), None)
        if lacking is not None:
            message = "FaceID-plus encodes the picture of the face too: send it as the unit's picture"
            raise RequestError(lacking, message)
    return found


@dataclass(frozen=True, kw_only=True)
class FaceReader:
    """Reads a unit's faces. `choice` is the unit's `face_choice`."""

    store: ModelStore
    variant: FaceVariant
    choice: str
    job: UnitInputs

    def faces(self) -> Iterator[UnitFace]:
        """All faces, in order. Raises RequestError."""
        text, place = str(self.job.params[FACE.name]), f"{self.job.path}.params.{FACE.name}"
        if text:
            yield from self.embedded(text, place, self.job.given)
        elif self.job.given is not None:
            yield from self.found(self.job.given, f"{self.job.path}.image")
        for reference in self.job.references:
            yield from self.of_reference(reference)

    def of_reference(self, reference: DecodedReference) -> Iterator[UnitFace]:
        """The face of a reference. Raises RequestError."""
        if reference.spec.role != "reference":
            message = f"{reference.spec.role!r} means nothing to an adapter for faces: say 'reference'"
            raise RequestError(f"{reference.path}.role", message)
        if reference.picture is not None:
            yield from self.found(reference.picture, f"{reference.path}.image")
        else:
            yield from self.embedded(reference.spec.embedding, f"{reference.path}.embedding", None)

    def embedded(self, text: str, path: str, picture: Image.Image | None) -> Iterator[UnitFace]:
        """The faces of a text; of one face alone, FaceID-plus encodes that of the picture too."""
        values = read_embeddings(text, path, self.variant.pack).values
        aligned = None
        if self.variant.crop and picture is not None and len(values) == 1:
            (face,) = self.chosen(picture, f"{self.job.path}.image", one=True)
            aligned = norm_crop(picture, face.points, CROP)
        for each in values:
            yield UnitFace(embedding=self.read(each), path=path, aligned=aligned)

    def found(self, picture: Image.Image, path: str) -> Iterator[UnitFace]:
        """The chosen faces of a picture. Raises RequestError."""
        for face in self.chosen(picture, path):
            aligned = norm_crop(picture, face.points, CROP)
            yield UnitFace(embedding=self.read(face.embedding), path=path, aligned=aligned)

    def chosen(self, picture: Image.Image, path: str, *, one: bool = False) -> tuple[Face, ...]:
        """The faces that `face_choice` means. Raises RequestError."""
        with at_path(path):
            faces = find_faces(picture, self.variant.pack, self.store.roots, self.store)
            require_faces(faces)
        place = f"{self.job.path}.params.{FACE_CHOICE.name}"
        found = selected(faces, self.choice, place)
        if one and len(found) > 1:
            raise RequestError(place, "one embedding is given: choose one face of the picture")
        return found

    def read(self, embedding: Embedding) -> Embedding:
        """The embedding as the variant reads it."""
        return normed(embedding) if self.variant.normed else embedding


def drawn(embedding: Embedding) -> Image.Image:
    """A picture of an embedding, 16 x 32 grey squares: what is shown of a face without a picture."""
    numbers = np.asarray(embedding, np.float64).reshape(GRID)
    grey = (numbers - numbers.min()) / max(float(np.ptp(numbers)), 1e-12) * 255
    small = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return small.resize((SQUARE * GRID[1], SQUARE * GRID[0]), Image.Resampling.NEAREST)
