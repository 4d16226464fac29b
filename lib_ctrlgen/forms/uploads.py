"""Several files in one field of the panel: files that were uploaded in the page, or texts over REST."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import is_safetensors, read_embeddings
from lib_ctrlgen.images.control_pictures import decode_control_bytes
from lib_ctrlgen.images.files import encode_image


def uploaded(value: Any, path: str) -> list[str]:
    """The pictures of a field as texts for a request: files sorted by name, others in their order.

    gradio passes open files. Only they are read: a text is never taken as a path. Raises RequestError.
    """
    return [_encoded(item, path) for item in _items(value)]


def uploaded_embeddings(value: Any, path: str) -> list[str]:
    """The same for saved embeddings of faces: safetensors files, or texts. Raises RequestError."""
    return [item if isinstance(item, str) else _embedding(item, path) for item in _items(value)]


def _items(value: Any) -> list[Any]:
    """The items of a field in their order."""
    if value is None or value == "":
        return []
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if items and all(_is_file(item) for item in items):
        items.sort(key=_name)
    return items


def _embedding(item: Any, path: str) -> str:
    if not _is_file(item):
        raise RequestError(path, f"expected a safetensors file or its base64, got {type(item).__name__}")
    data = _read(item, path)
    if not is_safetensors(data):
        raise RequestError(path, f"{_name(item)} is no safetensors file: other kinds of files are not read")
    text = base64.b64encode(data).decode("ascii")
    try:
        read_embeddings(text, path)
    except RequestError as error:
        raise RequestError(path, f"{_name(item)}: {error.message}") from error
    return text


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
    data = _read(item, path)
    try:
        decode_control_bytes(data, path)
    except RequestError as error:
        raise RequestError(error.path, f"{_name(item)}: {error.message}") from error
    return base64.b64encode(data).decode("ascii")


def _read(file: Any, path: str) -> bytes:
    try:
        return Path(file.name).read_bytes()
    except OSError as error:
        raise RequestError(path, f"{_name(file)} cannot be read any more: upload it again") from error
