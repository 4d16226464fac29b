"""Makes a safetensors file of the face in a unit's picture, from the values of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from lib_ctrlgen.controls.base import FaceControl
from lib_ctrlgen.controls.registry import control_for, identify_file
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.faces.embeddings import save_embedding
from lib_ctrlgen.faces.face import FACE_CHOICE, require_faces, selected
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.faces.packs import Pack, pack_named
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.store import ModelStore

from .param_fields import Payload, Values, unit_params, uploaded_params
from .param_values import PARAM_VALUES, read_param_values
from .unit_fields import NO_MODEL
from .uploads import uploaded

FACE_IMAGE = "face_image"  # the parameter with the picture of the face, where the unit's shows a pose


@dataclass(frozen=True)
class FaceFile:
    """A safetensors file with one embedding, and a name for it."""

    name: str
    content: bytes


def face_file(values: Values, index: int, store: ModelStore) -> FaceFile:
    """The embedding of the chosen face in the picture of a unit, by the model pack that its model needs.

    Raises RequestError at the unit's fields: without a model for faces, a picture or a face, and where the
    model pack is missing.
    """
    path = f"$.units[{index}]"
    params = unit_params({**values, **read_param_values(values[PARAM_VALUES], f"{path}.params")}, path)
    pack = _pack(values["model"], params, path, store)
    picture, place = _picture(values, path)
    with at_path(place):
        faces = find_faces(picture, pack.name, store.roots, store)
        require_faces(faces)
    (face,) = selected(faces, str(params.get(FACE_CHOICE.name, "")), f"{path}.params.{FACE_CHOICE.name}")[:1]
    number = 1 + faces.index(face)
    content = save_embedding([face.embedding], pack.name, pack.recogniser)
    return FaceFile(name=f"face-{number}-{pack.name}.safetensors", content=content)


def _pack(model: Any, params: Payload, path: str, store: ModelStore) -> Pack:
    """The model pack of the unit's model."""
    if model in (None, "", NO_MODEL):
        raise RequestError(f"{path}.model", "choose a model for faces first")
    with at_path(f"{path}.model"):
        kind = store.get(store.resolve(model), identify_file)
        family = control_for(kind)
    if not issubclass(family, FaceControl):
        raise RequestError(f"{path}.model", f"a unit of the family {family.title} reads no face")
    return pack_named(family.face_pack(kind, params, f"{path}.params"))


def _picture(values: Values, path: str) -> tuple[Image.Image, str]:
    """The picture in which the face is searched, RGB, and its JSON path."""
    own = uploaded_params(values, path).get(FACE_IMAGE)
    many = uploaded(values["images"], f"{path}.images")
    given: tuple[tuple[Any, str], ...] = (
        (own, f"{path}.params.{FACE_IMAGE}"),
        (values["image"], f"{path}.image"),
        (many[0] if many else None, f"{path}.images[0]"),
    )
    for picture, place in given:
        if picture:
            return to_rgb(decode_image(picture, place) if isinstance(picture, str) else picture), place
    raise RequestError(f"{path}.image", "choose a picture that shows the face first")
