"""The five keypoints of a face, drawn as InstantID draws them (Wang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.faces.face import FACE_CHOICE, choose
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.faces.packs import INSTANT_ID, find_pack, pack_named
from lib_ctrlgen.images.poses.drawing import draw_limb
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.params import Param

from .base import Preprocessor

NOSE, RADIUS, STICK, SHADE = 2, 10, 4, 0.6
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))


@dataclass(frozen=True)
class FaceKeypoints(Preprocessor):
    """Draws the eyes, the nose and the corners of the mouth of one face; needs the model pack antelopev2."""

    store: ModelStore | None = None

    name: ClassVar[str] = "instant_id_face_keypoints"
    title: ClassVar[str] = "InstantID face keypoints"
    params: ClassVar[tuple[Param, ...]] = (FACE_CHOICE,)
    needs_weights: ClassVar[bool] = True

    def with_store(self, store: ModelStore) -> FaceKeypoints:
        """This preprocessor with a store, in whose folders the face models are searched, too."""
        return replace(self, store=store)

    def weight_files(self) -> tuple[Path, ...] | None:
        """The files of the model pack. Raises ModelError."""
        files = find_pack(pack_named(INSTANT_ID), self.store.roots if self.store is not None else ())
        return (files.detector, files.recogniser)

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return a face's keypoints on black. Raises ModelError, and RequestError if no face is found."""
        folders = self.store.roots if self.store is not None else ()
        faces = find_faces(image, INSTANT_ID, folders, self.store)
        return drawn(choose(faces, params.get(FACE_CHOICE.name, "")).points, image.size)


def drawn(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Image.Image:
    """A black picture of this size with five points (x, y) in pixels: eyes, nose, corners of the mouth."""
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    places = np.asarray(points, float)
    for place, colour in zip(places, COLOURS, strict=True):
        if place is not places[NOSE]:
            draw_limb(canvas, tuple(place), tuple(places[NOSE]), colour, STICK)
    canvas = (canvas * SHADE).astype(np.uint8)
    for place, colour in zip(places, COLOURS, strict=True):
        cv2.circle(canvas, (int(place[0]), int(place[1])), RADIUS, colour, -1)
    return Image.fromarray(canvas)
