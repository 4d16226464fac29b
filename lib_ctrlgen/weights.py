"""Reading model files: safetensors memory-mapped, pickles with `weights_only=True` or not at all; JSON."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .errors import ModelError

SUFFIXES = (".safetensors", ".pth", ".bin", ".ckpt", ".pt")


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a file, by key, without loading the tensors.

    Raises ModelError for anything that cannot be read.
    """
    if path.suffix.lower() != ".safetensors":
        return {key: tuple(tensor.shape) for key, tensor in _read_pickle(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    # The parser raises many kinds of exceptions on broken data.
    except Exception as error:
        raise _broken(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, by key, on the CPU and memory-mapped where the format allows it.

    A `state_dict` is unwrapped; nested dicts (an IP-Adapter's .bin) get dotted keys.
    Raises ModelError for anything that cannot be read.
    """
    if path.suffix.lower() != ".safetensors":
        return _read_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _broken(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files. Raises ModelError."""
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _broken(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object")
    return content


def hash8(path: Path) -> str:
    """The short hash that users know from model lists: SHA-256 of 64 KiB at 1 MiB, 8 hex digits."""
    try:
        with path.open("rb") as file:
            file.seek(1 << 20)
            return hashlib.sha256(file.read(1 << 16)).hexdigest()[:8]
    except OSError as error:
        raise _broken(path, error) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        mapped = zipfile.is_zipfile(path)
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise _broken(path, error) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = dict(_flatten(content, "")) if isinstance(content, Mapping) else {}
    if not tensors:
        raise ModelError(f"{path.name}: no tensors in this file")
    return tensors


def _flatten(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")


def _broken(path: Path, error: Exception) -> ModelError:
    if not path.is_file():
        return ModelError(f"{path.name}: no such file")
    if "weights_only" in str(error):
        return ModelError(
            f"{path.name}: the pickle is broken, or holds more than tensors and could run code; "
            "convert it to safetensors"
        )
    reason = (str(error) or type(error).__name__).splitlines()[0][:120]
    return ModelError(f"{path.name}: cannot be read, broken or incomplete ({reason})")
