"""Finds a face's identity embedding and its five landmarks with the package insightface, if it is installed.

The embedding is that of ArcFace (Deng et al. 2019). CtrlGen never installs the package: its models are for
research only, and installing it changes versions of other packages. An embedding can be given instead.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import ModelError, RequestError

WIDTH = 512
MODELS = "antelopev2"
PACKAGE = "insightface"


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face.

    points     both eyes, the nose and both corners of the mouth, (x, y) in pixels
    embedding  the 512 numbers of ArcFace, not normalised
    """

    points: tuple[tuple[float, float], ...]
    embedding: tuple[float, ...]


def read_embedding(text: str, path: str) -> tuple[float, ...]:
    """Read an ArcFace embedding of 512 numbers: a JSON list, or base64 of little-endian float32.

    Raises RequestError at `path`, also for an embedding of zeros, which means that no face was found.
    """
    stripped = text.strip()
    values = _listed(stripped, path) if stripped.startswith("[") else _packed(stripped, path)
    if len(values) != WIDTH or not all(map(isfinite, values)):
        raise RequestError(path, f"a face is {WIDTH} finite numbers, these are {len(values)}")
    if not any(values):
        raise RequestError(
            path, "the embedding is all zeros, which means that no face was found: leave it out, or send one"
        )
    return values


def _listed(text: str, path: str) -> tuple[float, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(path, f"not a JSON list of numbers: {error}") from error
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        raise RequestError(path, "a list of something else than numbers")
    return tuple(map(float, found))


def _packed(text: str, path: str) -> tuple[float, ...]:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(path, f"neither a JSON list nor base64: {error}") from error
    if len(content) % 4:
        raise RequestError(path, f"{len(content)} bytes are no float32 numbers")
    return tuple(np.frombuffer(content, "<f4").astype(float).tolist())


def has_finder() -> bool:
    """Whether insightface is installed."""
    return find_spec(PACKAGE) is not None


def find_face(picture: Image.Image) -> Face:
    """The largest face of an RGB picture.

    Raises ModelError without insightface or its models, and where there is no face.
    """
    colours = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    faces: Sequence[Any] = _finder(Path.home() / ".insightface").get(colours)
    if not faces:
        raise ModelError("no face was found in the picture: choose one that shows a face from the front")
    face = max(faces, key=lambda each: (each.bbox[2] - each.bbox[0]) * (each.bbox[3] - each.bbox[1]))
    return Face(
        points=tuple((float(x), float(y)) for x, y in face.kps),
        embedding=tuple(map(float, face.embedding)),
    )


@lru_cache(maxsize=1)
def _finder(root: Path) -> Any:
    """insightface's face finder. Raises ModelError where it would download its models."""
    if not has_finder():
        raise ModelError(
            "faces are found by the package insightface, which is not installed: install it where you may "
            "use its models, or send the embedding (params.face) and draw the points yourself"
        )
    if not any((root / "models" / MODELS).rglob("*.onnx")):
        raise ModelError(
            f"insightface's models are missing: put those of {MODELS} into {root / 'models' / MODELS}"
        )
    finder = import_module(f"{PACKAGE}.app").FaceAnalysis(name=MODELS, root=str(root))
    finder.prepare(ctx_id=-1, det_size=(640, 640))
    return finder
