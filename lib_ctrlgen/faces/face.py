"""A face that was found in a picture, and the choice of one or of some among several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.params import Param

Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
Embedding: TypeAlias = tuple[float, ...]

WIDTH = 512
LARGEST, ALL = "largest", "all"
FACE_CHOICE = Param(
    name="face_choice",
    label="Which face",
    kind="text",
    default=LARGEST,
    info="largest, or its number counted from the left (1, 2, ...)",
)
MOST = 5  # as many faces as the portrait adapters were trained to take


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face.

    box        left, top, right and bottom in pixels
    points     both eyes, the nose and both corners of the mouth, the left one in the picture first, each
               (x, y) in pixels
    embedding  the 512 numbers of ArcFace (Deng et al. 2019) as the recogniser returns them, not normalised
    score      the detector's confidence, from 0 to 1
    """

    box: Box
    points: tuple[Point, ...]
    embedding: Embedding
    score: float

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def normed_embedding(self) -> Embedding:
        """The embedding divided by its Euclidean norm, as the FaceID adapters read it."""
        return normed(self.embedding)


def normed(embedding: Embedding) -> Embedding:
    """An embedding divided by its Euclidean norm; it must not be all zeros."""
    norm = sqrt(sum(value * value for value in embedding))
    return tuple(value / norm for value in embedding)


def from_left(faces: Sequence[Face]) -> tuple[Face, ...]:
    """The faces in the order of their boxes' centres, from left to right."""
    return tuple(sorted(faces, key=lambda face: face.box[0] + face.box[2]))


def choose(faces: Sequence[Face], text: str, path: str = "") -> Face:
    """The face that a text means: "largest", or "1", "2", ... for the first, second, ... from the left.

    An empty text means the largest one. Raises RequestError at `path` where there is no face, not so many
    faces, or where the text is another one.
    """
    require_faces(faces, path)
    wanted = text.strip().lower() or LARGEST
    if wanted == LARGEST:
        return max(faces, key=lambda face: face.area)
    if not (wanted.isascii() and wanted.isdigit()) or int(wanted[:9]) < 1:
        raise RequestError(
            path, f"expected '{LARGEST}', or the number of a face, counted from the left, got {text!r}"
        )
    number = int(wanted[:9])
    if number > len(faces):
        found = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise RequestError(path, f"face {number} from the left is wanted, and {found} found in the picture")
    return from_left(faces)[number - 1]


def selected(faces: Sequence[Face], text: str, path: str = "") -> tuple[Face, ...]:
    """All faces from left to right for "all", else the one of `choose`. Raises RequestError at `path`."""
    if text.strip().lower() != ALL:
        return (choose(faces, text, path),)
    require_faces(faces, path)
    return from_left(faces)


def choose_several(faces: Sequence[Face], most: int = MOST, path: str = "") -> tuple[Face, ...]:
    """The largest faces, at most `most`, from left to right.

    Raises RequestError at `path` where there is none.
    """
    require_faces(faces, path)
    return from_left(sorted(faces, key=lambda face: face.area, reverse=True)[:most])


def require_faces(faces: Sequence[Face], path: str = "") -> None:
    """Raise RequestError at `path` where there is no face."""
    if not faces:
        message = "no face was found in the picture: choose one that shows a face from the front"
        raise RequestError(path, message)
