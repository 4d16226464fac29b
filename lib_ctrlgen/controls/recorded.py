"""Describes a request for infotexts and results: with hashes of its pictures and names of loaded models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from lib_ctrlgen.images.control_pictures import control_picture_hash
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, PICTURES, pictured_parts
from lib_ctrlgen.request.spec import ControlRequest, to_payload

if TYPE_CHECKING:
    from .unit import ActiveUnit  # imports torch, and the WebUI imports this file at start

Request = TypeVar("Request", bound=ControlRequest)


def described(request: ControlRequest, mark: str, *, whole: bool = False) -> dict[str, Any]:
    """The request as JSON types; pictures and embeddings are replaced by `mark` and a hash of their content.

    Fields with default values are left out; with `whole`, only those of units, the blend and the like.
    """
    payload = with_pictures(request, lambda picture: f"{mark}:{control_picture_hash(picture)}", whole=whole)
    for _, part in pictured_parts(payload):
        part |= {name: f"{mark}:{_digest(part[name])}" for name in EMBEDDINGS if part.get(name)}
    return payload


def with_pictures(
    request: ControlRequest, named: Callable[[str], str], *, whole: bool = False
) -> dict[str, Any]:
    """The request as JSON types, each picture's base64 text replaced by `named(text)`."""
    payload = to_payload(request, whole=whole)
    for _, part in pictured_parts(payload):
        part |= {name: named(part[name]) for name in PICTURES if part.get(name)}
        part |= {name: [named(each) for each in part[name]] for name in LISTS if part.get(name)}
    return payload


def _digest(embedding: object) -> str:
    return sha256(str(embedding).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Loaded:
    """`name [hash]` of the model files that a generation used.

    units       by a unit's index in the request, its files by `model` or by the parameter that names the file
    blend       the model that reads the concepts' reference pictures
    checkpoint  the checkpoint; empty if the host records it itself
    """

    units: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    blend: str = ""
    checkpoint: str = ""

    @staticmethod
    def of(units: Iterable[ActiveUnit], checkpoint: str = "") -> Loaded:
        """The files of these units."""
        places: dict[int, Mapping[str, str]] = {}
        blend = ""
        for unit in units:
            if isinstance(unit.index, int):
                places[unit.index] = unit.loaded
            else:
                blend = unit.loaded.get("model", blend)
        return Loaded(units=places, blend=blend, checkpoint=checkpoint)

    def recorded(self, request: Request) -> Request:
        """The request with each model's name replaced by `name [hash]`; the hash is appended to a path."""
        changes: dict[str, Any] = {}
        if self.checkpoint and hasattr(request, "model"):
            changes["model"] = called(request.model, self.checkpoint)
        if self.blend and request.blend is not None:
            changes["blend"] = replace(request.blend, model=called(request.blend.model, self.blend))
        units = list(request.units)
        for place, files in self.units.items():
            unit = units[place]
            params = {name: label for name, label in files.items() if name != "model"}
            model = called(unit.model, files.get("model", ""))
            units[place] = replace(unit, model=model, params={**unit.params, **params})
        return replace(request, units=tuple(units), **changes)

    def listed(self) -> dict[str, str]:
        """All files, by the path of the field that names the file."""
        found = {"model": self.checkpoint, "blend.model": self.blend}
        for place, files in self.units.items():
            found |= {
                f"units[{place}].{name if name == 'model' else f'params.{name}'}": label
                for name, label in files.items()
            }
        return {place: label for place, label in found.items() if label}


def called(given: str, label: str) -> str:
    """The text that is recorded for a model that a request calls `given`; `label` is its `name [hash]`.

    >>> called("canny", "control_v11p_sd15_canny [d14c016b]"), called("/models/a.pth", "a [0123abcd]")
    ('control_v11p_sd15_canny [d14c016b]', '/models/a.pth [0123abcd]')
    """
    name, _ = split_hash(given)
    _, digest = split_hash(label)
    if not digest:
        return given
    is_path = name.startswith("/") or name[1:3] in {":/", ":\\"}
    return f"{name} [{digest}]" if is_path else label
