"""Finds the faces in a picture, with insightface where it is installed, else with its models alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lib_ctrlgen.models.store import ModelStore

from .face import Face


def find_faces(
    picture: Image.Image, pack: str, folders: Sequence[Path], store: ModelStore | None = None
) -> tuple[Face, ...]:
    """The faces of a picture from left to right; an empty tuple where there is none.

    `pack` is the model pack: "buffalo_l" for FaceID (which reads `Face.normed_embedding`), "antelopev2" for
    InstantID, PuLID and portrait-unnorm (which read `Face.embedding`). `folders` are model folders, beside
    insightface's own, in or beside which the pack is searched (see `packs`). With a store, the models and the
    found faces stay in its cache; without one the models are dropped at the end.

    Raises RequestError for an unknown pack, ModelError without the pack's files, and where neither insightface
    nor onnxruntime is installed.
    """
    raise NotImplementedError
