"""The outlines of faces by MediaPipe's face mesh, as the ControlNet ControlNetMediaPipeFace was trained with.

MediaPipe needs another version of protobuf than the WebUI, so it runs in an environment of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.params import Param

from .base import Comparison, Preprocessor
from .isolated.environment import MEDIAPIPE
from .isolated.running import worker_of

POINTS = 478  # of a face
SMALLEST = 64  # pixels: faces are drawn from this width and height on
THICKNESS = 2  # pixels
PUPIL = 2  # pixels to each side
HALF = 0.5  # of the picture: points that are farther from its middle are outside
# Lines from point to point of the mesh, and their colours.
LINES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    (
        "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 "
        "58 132 93 234 127 162 21 54 103 67 109 10",
        (10, 200, 10),
    ),  # the face
    ("263 249 390 373 374 380 381 382 362", (10, 200, 180)),  # the left eye, below
    ("263 466 388 387 386 385 384 398 362", (10, 200, 180)),  # and above
    ("276 283 282 295 285", (10, 220, 180)),  # the left eyebrow, below
    ("300 293 334 296 336", (10, 220, 180)),
    ("33 7 163 144 145 153 154 155 133", (180, 200, 10)),  # the right eye, below
    ("33 246 161 160 159 158 157 173 133", (180, 200, 10)),
    ("46 53 52 65 55", (180, 220, 10)),  # the right eyebrow, below
    ("70 63 105 66 107", (180, 220, 10)),
    ("61 146 91 181 84 17 314 405 321 375 291", (10, 180, 10)),  # the lips: outside below and above,
    ("61 185 40 39 37 0 267 269 270 409 291", (10, 180, 10)),
    ("78 95 88 178 87 14 317 402 318 324 308", (10, 180, 10)),  # inside below and above
    ("78 191 80 81 82 13 312 311 310 415 308", (10, 180, 10)),
)
PUPILS = ((468, (250, 200, 10)), (473, (10, 200, 250)))  # the right and the left one


@dataclass(frozen=True)
class MediapipeFace(Preprocessor):
    """Coloured outlines of faces, eyes, eyebrows and lips, and the pupils, on black.

    Faces that are less than 64 pixels wide or high are not drawn, as in the training.
    """

    store: ModelStore | None = None

    name: ClassVar[str] = "mediapipe_face"
    title: ClassVar[str] = "Outlines of faces, MediaPipe (mediapipe_face)"
    params: ClassVar[tuple[Param, ...]] = (
        Param(name="max_faces", label="Max faces", kind="int", default=1, minimum=1, maximum=10, step=1),
        Param(
            name="min_face_confidence",
            label="Min face confidence",
            kind="float",
            default=0.5,
            minimum=0.01,
            maximum=1.0,
            step=0.01,
        ),
    )
    compared: ClassVar[Comparison | None] = "edges"
    needs_weights: ClassVar[bool] = True

    def with_store(self, store: ModelStore) -> MediapipeFace:
        """This preprocessor with the store that caches its worker process."""
        return replace(self, store=store)

    def __call__(
        self, image: Image.Image, max_faces: int = 1, min_face_confidence: float = 0.5, **params: Any
    ) -> Image.Image:
        """Return the outlines of faces in an RGB picture; black if there is none.

        Raises ModelError without MediaPipe's environment and when its process fails, HostError when it is
        cancelled.
        """
        del params
        pixels = pixels_of(image)
        height, width = pixels.shape[:2]
        call = {
            "width": width,
            "height": height,
            "max_faces": int(max_faces),
            "min_confidence": float(min_face_confidence),
        }
        header, data = worker_of(MEDIAPIPE, self.store).call(call, pixels.tobytes())
        return drawn(faces_of(header, data), (width, height))


def faces_of(header: dict[str, Any], data: bytes) -> NDArray[np.float32]:
    """The points [faces, 478, 2] in a worker's answer. Raises ModelError for another number of points."""
    values = np.frombuffer(data, "<f4") if len(data) % 4 == 0 else np.zeros(0)
    if values.size != header.get("faces", -1) * POINTS * 2:
        raise ModelError(f"mediapipe: {header.get('faces')} faces in {len(data)} bytes")
    return np.asarray(values.reshape(-1, POINTS, 2), np.float32)


def drawn(faces: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """A black picture of a size (width, height) with faces [F, 478, 2], whose points are fractions of it."""
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    for face in faces:
        if np.ptp(face * size, axis=0).min() >= SMALLEST:
            _draw(canvas, face)
    return Image.fromarray(canvas)


def _draw(canvas: NDArray[np.uint8], face: NDArray[np.float32]) -> None:
    """Draw a face. Lines with an end outside of the picture, and pupils there, are left out."""
    height, width = canvas.shape[:2]
    off = np.abs(face - 0.5).max(axis=1).tolist()
    places = np.minimum(face * (width, height), (width - 1, height - 1)).astype(int).tolist()
    for text, colour in LINES:
        chain = [int(number) for number in text.split()]
        for first, second in pairwise(chain):
            if max(off[first], off[second]) <= HALF:
                cv2.line(canvas, places[first], places[second], colour, THICKNESS)
    for number, colour in PUPILS:
        if off[number] <= HALF:
            x, y = places[number]
            canvas[max(0, y - PUPIL) : y + PUPIL, max(0, x - PUPIL) : x + PUPIL] = colour
