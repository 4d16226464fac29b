"""The REST route that finds the faces of a picture."""

from __future__ import annotations

from typing import Any

from fastapi import Body

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.face import Face, require_faces, selected
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.faces.packs import Pack, pack_named
from lib_ctrlgen.faces.request import FacesRequest
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.spec import parse_request

from .settings import model_store


def faces(payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Return the faces of `{"image": "base64"}`, from left to right.

    Each has its `box` (left, top, right, bottom) and its five `points` (x, y) in pixels, the detector's
    `score` from 0 to 1, and its `embedding` as a safetensors file in base64; `embeddings` is one such file
    for all of them. Raises RequestError, also where there is no face.
    """
    request = parse_request(payload, FacesRequest)
    pack = pack_named(request.pack, "$.pack")
    picture = to_rgb(decode_image(request.image, "$.image"))
    store = model_store()
    with at_path("$.pack"):
        found = find_faces(picture, pack.name, store.roots, store)
    require_faces(found, "$.image")
    chosen = selected(found, request.face_choice, "$.face_choice")
    return {
        "pack": pack.name,
        "recogniser": pack.recogniser,
        "faces": [_answered(face, pack) for face in chosen],
        "embeddings": encoded([face.embedding for face in chosen], pack.name, pack.recogniser),
    }


def _answered(face: Face, pack: Pack) -> dict[str, Any]:
    return {
        "box": list(face.box),
        "points": [list(point) for point in face.points],
        "score": face.score,
        "embedding": encoded([face.embedding], pack.name, pack.recogniser),
    }
