"""Reads and writes identity embeddings of faces: safetensors, JSON, or base64 of float32; never a pickle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .face import Embedding


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Embeddings of 512 numbers each, and the model pack and recogniser that made them, where that is known."""

    values: tuple[Embedding, ...]
    pack: str = ""
    recogniser: str = ""


def read_embeddings(text: str, path: str, pack: str = "") -> Embeddings:
    """Read one or more embeddings. Raises RequestError at `path`.

    A text is one of
    - base64 or a data URL of a safetensors file with a tensor `embedding`, [512] or [n, 512],
    - a JSON list of 512 numbers, or a list of such lists,
    - base64 of little-endian float32.

    If `pack` is given, embeddings whose metadata name another pack are refused.
    """
    raise NotImplementedError


def save_embedding(values: Sequence[Embedding], pack: str = "", recogniser: str = "") -> bytes:
    """A safetensors file with the tensor `embedding`, float32 [n, 512], and metadata."""
    raise NotImplementedError
