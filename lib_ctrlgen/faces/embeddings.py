"""Reads and writes identity embeddings of faces: safetensors, JSON, or base64 of float32; never a pickle."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from lib_ctrlgen.errors import RequestError

from .face import WIDTH, Embedding

TENSOR = "embedding"
PACK, RECOGNISER = "pack", "recogniser"  # of the metadata
MAX_EMBEDDINGS = 64
MAX_CHARACTERS = MAX_EMBEDDINGS * WIDTH * 32
HEADER = 8  # the bytes before a safetensors header, its length
LARGEST_FLOAT, LEAST = 3.4e38, 1e-30
URL_SAFE = str.maketrans("-_", "+/")
ZEROS = "the embedding is all zeros, which means that no face was found: leave it out, or send one"


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Embeddings of 512 numbers each, and the model pack and recogniser that made them, if known."""

    values: tuple[Embedding, ...]
    pack: str = ""
    recogniser: str = ""


def read_embeddings(text: str, path: str, pack: str = "") -> Embeddings:
    """Read one or more embeddings. Raises RequestError at `path`, also for one that is all zeros.

    A text is one of
    - base64 or a data URL of a safetensors file with a tensor `embedding`, [512] or [n, 512],
    - a JSON list of 512 numbers, or a list of such lists,
    - base64 of little-endian float32.

    If `pack` is given, embeddings whose metadata name another pack are refused.
    """
    if len(text) > MAX_CHARACTERS:
        raise RequestError(path, f"more text than {MAX_EMBEDDINGS} embeddings need")
    stripped = text.strip()
    found = _listed(stripped, path) if stripped.startswith("[") else _decoded(stripped, path)
    for values in found.values:
        _check(values, path)
    if not 1 <= len(found.values) <= MAX_EMBEDDINGS:
        raise RequestError(path, f"expected 1..{MAX_EMBEDDINGS} embeddings, got {len(found.values)}")
    if pack and found.pack and found.pack != pack:
        raise RequestError(
            path, f"the embedding was made by the model pack {found.pack!r}, and here {pack!r} is needed"
        )
    return found


def read_embedding(text: str, path: str, pack: str = "") -> Embedding:
    """Read one embedding, see `read_embeddings`. Raises RequestError at `path`, also for several."""
    values = read_embeddings(text, path, pack).values
    if len(values) > 1:
        raise RequestError(path, f"expected the embedding of one face, got {len(values)}")
    return values[0]


def save_embedding(values: Sequence[Embedding], pack: str = "", recogniser: str = "") -> bytes:
    """A safetensors file with the tensor `embedding`, float32 [n, 512], and metadata.

    It is written here, because the package safetensors changes the order of the metadata from call to call,
    and the same face should have the same text.
    """
    said = {name: text for name, text in ((PACK, pack), (RECOGNISER, recogniser)) if text}
    content = np.asarray(values, "<f4").tobytes()
    tensor = {"dtype": "F32", "shape": [len(values), WIDTH], "data_offsets": [0, len(content)]}
    header = json.dumps(({"__metadata__": said} if said else {}) | {TENSOR: tensor}, separators=(",", ":"))
    head = header.encode("ascii")
    head += b" " * (-len(head) % HEADER)
    return len(head).to_bytes(HEADER, "little") + head + content


def encoded(values: Sequence[Embedding], pack: str = "", recogniser: str = "") -> str:
    """The same as base64, which requests take."""
    return base64.b64encode(save_embedding(values, pack, recogniser)).decode("ascii")


def _check(values: Embedding, path: str) -> None:
    if len(values) != WIDTH or not all(abs(value) <= LARGEST_FLOAT for value in values):  # not of NaN, either
        raise RequestError(path, f"a face is {WIDTH} finite numbers, these are {len(values)}")
    if max(map(abs, values)) < LEAST:
        raise RequestError(path, ZEROS)


def _listed(text: str, path: str) -> Embeddings:
    """A JSON list of numbers, or of such lists."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(path, f"not a JSON list of numbers: {error}") from error
    several = all(isinstance(each, list) for each in found)
    rows = found if several else [found]
    if not all(_is_number(value) for row in rows for value in row):
        raise RequestError(path, "a list of something else than numbers")
    try:
        return Embeddings(values=tuple(tuple(map(float, row)) for row in rows))
    except OverflowError as error:
        raise RequestError(path, f"a number is too large: {error}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _decoded(text: str, path: str) -> Embeddings:
    """Base64 or a data URL of a safetensors file or of float32 numbers."""
    content = _bytes_of(text, path)
    if is_safetensors(content):
        return _from_file(content, path)
    size = 4 * WIDTH
    if len(content) % 4:
        raise RequestError(path, f"{len(content)} bytes are no float32 numbers and no safetensors file")
    values = torch.frombuffer(bytearray(content), dtype=torch.float32).tolist() if content else []
    rows = len(content) // size if content and len(content) % size == 0 else 1
    width = len(values) // rows
    return Embeddings(values=tuple(tuple(values[row * width : (row + 1) * width]) for row in range(rows)))


def _bytes_of(text: str, path: str) -> bytes:
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RequestError(path, "a data URL must be base64")
        text = unquote(text)
    compact = "".join(text.split()).rstrip("=").translate(URL_SAFE)
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(path, f"neither a JSON list nor base64: {error}") from error


def is_safetensors(content: bytes) -> bool:
    """Whether bytes begin like a safetensors file: a length, then a JSON object of that length."""
    length = int.from_bytes(content[:HEADER], "little")
    return content[HEADER : HEADER + 1] == b"{" and 2 <= length <= len(content) - HEADER


def _from_file(content: bytes, path: str) -> Embeddings:
    """The embeddings of a safetensors file."""
    try:
        tensors = load(content)
        said = json.loads(content[HEADER : HEADER + int.from_bytes(content[:HEADER], "little")])
    except Exception as error:  # the parser raises many kinds of errors on broken data
        reason = " ".join(str(error).split())[:120]
        raise RequestError(path, f"the safetensors file is broken: {reason}") from error
    if TENSOR not in tensors:
        names = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise RequestError(path, f"the safetensors file has no tensor '{TENSOR}', it has {names}")
    metadata = said.get("__metadata__") or {}
    return Embeddings(
        values=_from_tensor(tensors[TENSOR], path),
        pack=_text_of(metadata, PACK),
        recogniser=_text_of(metadata, RECOGNISER),
    )


def _from_tensor(tensor: Tensor, path: str) -> tuple[Embedding, ...]:
    shape = list(tensor.shape)
    if not tensor.is_floating_point() or tensor.ndim not in (1, 2) or shape[-1] != WIDTH:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise RequestError(
            path, f"the tensor '{TENSOR}' must hold floats [{WIDTH}] or [n, {WIDTH}], is {kind} {shape}"
        )
    return tuple(tuple(row) for row in tensor.reshape(-1, WIDTH).to(torch.float64).tolist())


def _text_of(metadata: Mapping[str, Any], name: str) -> str:
    return str(metadata.get(name, ""))
