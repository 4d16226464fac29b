"""Reads `ipadapter_input`, the saved features of an IP-Adapter's pictures in sd-webui-controlnet's units."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_base64

from .values import shown

PICKLES = (b"PK\x03\x04", b"\x80")
HEADER = 8  # bytes of the length of a safetensors file's header
PICKLED = (
    "is a torch file (a pickle), which can run a program when it is read, so it is refused: send the picture "
    "in 'image', or the features as a safetensors file"
)


def read_embeddings(value: Any, path: str) -> tuple[str, ...]:
    """The features as base64 of safetensors files, from one text or a list; empty for none.

    Raises RequestError at `path` for a torch file and anything else.
    """
    if value is None or value in ("", []):
        return ()
    if isinstance(value, str):
        _require_safetensors(value, path)
        return (value,)
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise RequestError(path, f"expected safetensors files as base64, got {shown(value)}")
    for number, each in enumerate(value):
        _require_safetensors(each, f"{path}[{number}]")
    return tuple(value)


def _require_safetensors(text: str, path: str) -> None:
    data = decode_base64(text, path)
    if data.startswith(PICKLES) and data[HEADER : HEADER + 1] != b"{":
        raise RequestError(path, PICKLED)
    if len(data) <= HEADER or data[HEADER : HEADER + 1] != b"{":
        raise RequestError(path, "is not a safetensors file")
