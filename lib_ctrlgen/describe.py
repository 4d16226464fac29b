"""A request without its pictures: their hashes stand in their places, so that it fits into a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .images import image_hash
from .spec import ControlRequest, to_payload

PICTURES = ("image", "mask")
LISTS = ("images", "masks")


def described(request: ControlRequest, mark: str, *, whole: bool = False) -> dict[str, Any]:
    """The request as JSON types; a picture becomes `mark` and the hash of its pixels.

    Defaults are left out; with `whole`, those of parts only.
    """
    return with_pictures(request, lambda picture: f"{mark}:{image_hash(picture)}", whole=whole)


def with_pictures(
    request: ControlRequest, named: Callable[[str], str], *, whole: bool = False
) -> dict[str, Any]:
    """The request as JSON types, each picture's base64 replaced by what `named` makes of it."""
    payload = to_payload(request, whole=whole)
    blend = payload.get("blend") or {}
    for part in (*payload.get("units", ()), *blend.get("concepts", ())):
        part |= {name: named(part[name]) for name in PICTURES if part.get(name)}
        part |= {name: [named(each) for each in part[name]] for name in LISTS if part.get(name)}
    return payload
