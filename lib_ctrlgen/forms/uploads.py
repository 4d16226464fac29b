"""Several pictures in one field of the panel: files that were uploaded in the page, or texts over REST."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_bytes, encode_image


def uploaded(value: Any, path: str) -> list[str]:
    """The pictures of a field as texts for a request: files sorted by name, others in their order.

    gradio passes open files. Only they are read: a text is never taken as a path. Raises RequestError.
    """
    if value is None or value == "":
        return []
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if items and all(_is_file(item) for item in items):
        items.sort(key=_name)
    return [_encoded(item, path) for item in items]


def _is_file(item: Any) -> bool:
    return not isinstance(item, str) and isinstance(getattr(item, "name", None), str)


def _name(file: Any) -> str:
    """The file's name on the user's machine."""
    return Path(getattr(file, "orig_name", file.name)).name


def _encoded(item: Any, path: str) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, Image.Image):
        return encode_image(item)
    if not _is_file(item):
        raise RequestError(path, f"expected pictures as base64 or data URLs, got {type(item).__name__}")
    try:
        data = Path(item.name).read_bytes()
    except OSError as error:
        raise RequestError(path, f"{_name(item)} cannot be read any more: upload it again") from error
    try:
        decode_bytes(data, path)
    except RequestError as error:
        raise RequestError(path, f"{_name(item)}: {error.message}") from error
    return base64.b64encode(data).decode("ascii")
