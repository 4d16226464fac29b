"""Turns a request into a job whose pictures are files in the tuner's folder, named by their hashes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib_ctrlgen.controls.recorded import with_pictures
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.images.control_pictures import control_picture_file, control_picture_hash
from lib_ctrlgen.request.spec import ControlRequest

PICTURES = "pictures"


def linked(request: ControlRequest, folder: Path) -> dict[str, Any]:
    """The request as JSON types; its pictures are written into `folder` and named by relative paths.

    Fields with default values are left out. Raises HostError.
    """
    known: dict[str, str] = {}

    def named(picture: str) -> str:
        if picture not in known:
            known[picture] = _saved(picture, folder)
        return known[picture]

    payload = with_pictures(request, named, whole=True)
    return {name: value for name, value in payload.items() if value not in (None, [], {})}


def save_pictures(requests: Iterable[ControlRequest], folder: Path) -> None:
    """Write every picture of these requests into `folder`, named by its hash. Raises HostError.

    With them a cell can be saved as a recipe later: its infotext names pictures by their hashes.
    """
    known: set[str] = set()

    def keep(picture: str) -> str:
        if picture not in known:
            known.add(picture)
            _saved(picture, folder)
        return picture

    for request in requests:
        with_pictures(request, keep)


def _saved(picture: str, folder: Path) -> str:
    data, ending = control_picture_file(picture, "")
    name = f"{PICTURES}/{control_picture_hash(picture)}.{ending}"
    if not (folder / name).is_file():
        save_bytes(data, folder / name)
    return name
