"""The points of faces, by MediaPipe's face mesh (Grishchenko et al. 2020, Attention Mesh).

Its networks are in the package, so nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

FACE_MESH = import_module("mediapipe.python.solutions.face_mesh")
POINTS = 478  # of a face: 468, and 5 of each iris


def answer(header: dict[str, Any], data: bytes) -> tuple[Mapping[str, Any], bytes]:
    """The faces in a picture of `width` * `height` RGB pixels, at most `max_faces`.

    The data of the answer are x and y of every point of every face, as fractions of the picture's width and
    height, in little-endian float32; `faces` is their number.
    """
    pixels = np.frombuffer(data, np.uint8).reshape(header["height"], header["width"], 3)
    with FACE_MESH.FaceMesh(
        static_image_mode=True,
        max_num_faces=header["max_faces"],
        refine_landmarks=True,
        min_detection_confidence=header["min_confidence"],
    ) as mesh:
        found = mesh.process(pixels).multi_face_landmarks or []
    points = [[(point.x, point.y) for point in face.landmark] for face in found]
    return {"faces": len(points)}, np.asarray(points, "<f4").tobytes()
