"""Finds the faces in a picture, with insightface where it is installed, else with its models alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.onnx import import_runtime
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stamp

from .face import Face, from_left
from .finders import NEED, Finder, imported_package, load_finder
from .packs import PackFiles, find_pack, pack_named


def find_faces(
    picture: Image.Image, pack: str, folders: Sequence[Path], store: ModelStore | None = None
) -> tuple[Face, ...]:
    """The faces of a picture from left to right; an empty tuple where there is none.

    `pack` is the model pack: "buffalo_l" for FaceID and Portrait (which read `Face.normed_embedding`) and
    portrait-unnorm, "antelopev2" for InstantID and PuLID (which read `Face.embedding`). `folders` are model
    folders, beside insightface's own, in or beside which the pack is searched (see `packs`). With a store,
    the models and the found faces stay in its cache; without one the models are dropped at the end.

    Raises RequestError for an unknown pack, ModelError without the pack's files, and where neither
    insightface nor onnxruntime is installed.
    """
    named = pack_named(pack)
    if imported_package() is None:
        import_runtime(*NEED)
    files = find_pack(named, folders)
    rgb = picture.convert("RGB")

    def found() -> tuple[Face, ...]:
        return from_left(finder_of(files, store)(np.asarray(rgb)))

    if store is None:
        return found()
    return store.cached(("faces", image_hash(rgb), *stamp(files.detector), *stamp(files.recogniser)), found)


def finder_of(files: PackFiles, store: ModelStore | None) -> Finder:
    """What finds faces with these files, from the store's cache. Raises ModelError."""
    if store is None:
        return load_finder(files)

    def load_face_models(_path: Path) -> Finder:
        return load_finder(files)

    return store.get(files.recogniser, load_face_models, *stamp(files.detector))
