"""The panel's values for the pictures of a request: the inverse of `unit_fields.unit_pictures`.

Every picture becomes a file, as if the user had uploaded it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.images.control_pictures import control_picture_file
from lib_ctrlgen.request.pictures import EMBEDDINGS, PICTURES

from .pose_fields import reads_pose
from .reference_fields import ROLES

UNIT_FIELDS = ("image", "images", "pose", "mask", "masks", "references", *ROLES)
CONCEPT_FIELDS = ("image", "mask")


@dataclass(frozen=True)
class PictureFiles:
    """Writes pictures into a folder, for the panel's fields."""

    folder: Path

    def path(self, picture: str, order: int = 0) -> str:
        """The path of a picture's file. Files of one field are sorted by their names, so by `order`."""
        data, suffix = control_picture_file(picture, "")
        name = f"{order:03}-{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
        path = self.folder / name
        if not path.is_file():
            save_bytes(data, path)
        return str(path)

    def paths(self, pictures: Sequence[str]) -> list[str] | None:
        """The paths of several pictures in their order; None for none."""
        return [self.path(each, number) for number, each in enumerate(pictures)] or None


def picture_values(unit: Mapping[str, Any], files: PictureFiles) -> dict[str, Any]:
    """The values of a unit's picture fields by name; None for an empty one.

    `unit` is one of a request whose pictures are data URLs; those that are `is_missing` are left out.
    """
    image = _present(unit.get("image"))
    pose = pose_text(image) if image and reads_pose(_names(unit.get("preprocessor"))) else ""
    values: dict[str, Any] = {"image": files.path(image) if image and not pose else None, "pose": pose}
    mask = _present(unit.get("mask"))
    values["mask"] = files.path(mask) if mask else None
    for name in ("images", "masks"):
        values[name] = files.paths([each for each in unit.get(name) or () if not is_missing(each)])
    references = [each for each in unit.get("references") or () if _present(each.get("image"))]
    plain = [each["image"] for each in references if each.get("role", "reference") == "reference"]
    values["references"] = files.paths(plain)
    for name, role in ROLES.items():
        own = next((each["image"] for each in references if each.get("role") == role), "")
        values[name] = files.path(own) if own else None
    return values


def concept_values(concept: Mapping[str, Any], files: PictureFiles) -> dict[str, Any]:
    """The values of a concept's picture fields by name; None for an empty one."""
    found = {name: _present(concept.get(name)) for name in CONCEPT_FIELDS}
    return {name: files.path(picture) if picture else None for name, picture in found.items()}


def not_shown(unit: Mapping[str, Any]) -> Iterator[str]:
    """The fields of a unit with pictures or embeddings that `picture_values` has no field for."""
    params = unit.get("params") or {}
    yield from (f"params.{name}" for name in (*PICTURES, *EMBEDDINGS) if params.get(name))
    for number, each in enumerate(unit.get("references") or ()):
        yield from (f"references[{number}].{name}" for name in ("mask", *EMBEDDINGS) if each.get(name))
    for number, box in enumerate(unit.get("boxes") or ()):
        yield from (f"boxes[{number}].{name}" for name in PICTURES if box.get(name))


def is_missing(picture: str) -> bool:
    """Whether a picture is only the name of one that a recipe does not hold."""
    return picture.startswith("pictures/")


def _present(picture: Any) -> str:
    return picture if isinstance(picture, str) and picture and not is_missing(picture) else ""


def pose_text(picture: str) -> str:
    """The OpenPose JSON that a data URL holds, or an empty text if it holds a picture."""
    data, suffix = control_picture_file(picture, "")
    return data.decode("utf-8-sig") if suffix == "json" else ""


def _names(preprocessor: Any) -> Any:
    """The preprocessors of a request as a text of the panel's field."""
    return preprocessor if isinstance(preprocessor, str) else json.dumps(preprocessor or "none")
