"""The parts of a request in JSON types that hold pictures.

>>> unit = {"image": "A", "references": [{"image": "B"}], "boxes": [{"text": "a cat"}]}
>>> [path for path, _ in pictured_parts({"units": [unit], "blend": {"concepts": [{}]}})]
['$.units[0]', '$.units[0].references[0]', '$.units[0].boxes[0]', '$.blend.concepts[0]']
>>> [path for path, _ in pictured_parts({"units": [{"params": {"face_image": "A"}}]})]
['$.units[0]', '$.units[0].params']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PICTURES = ("image", "mask", "face_image")  # fields and parameters with one picture, base64 or a data URL
LISTS = ("images", "masks")  # fields with a list of pictures
EMBEDDINGS = ("embedding", "face")  # fields and parameters with saved embeddings, base64 or a data URL
PARTS = ("references", "boxes")  # lists of a unit whose items hold pictures


def pictured_parts(payload: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every unit, its `params`, reference, box and concept of a request with its JSON path, if an object."""
    for path, unit in objects_in(payload, "units", "$"):
        yield path, unit
        if isinstance(unit.get("params"), dict):
            yield f"{path}.params", unit["params"]
        for name in PARTS:
            yield from objects_in(unit, name, path)
    blend = payload.get("blend")
    if isinstance(blend, Mapping):
        yield from objects_in(blend, "concepts", "$.blend")


def objects_in(part: Mapping[str, Any], name: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in the list `name` of a part with their JSON paths; other values are left out."""
    items = part.get(name)
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield f"{path}.{name}[{number}]", item
