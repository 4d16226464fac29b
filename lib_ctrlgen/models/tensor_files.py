"""Reads model files: safetensors are memory-mapped, pickles are loaded with `weights_only=True` or refused.

The format is recognised by a file's first bytes, because suffixes are often wrong.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor

from lib_ctrlgen.errors import ModelError

from .weight_files import parts_of
from .weight_keys import usual_names

Format: TypeAlias = Literal["safetensors", "torch"]
T = TypeVar("T")

HEAD = 1024
DEEPEST = 8  # levels of nested dicts in a pickle
LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype", b"<html", b"<?xml", b"{", b"entry not found", b"invalid ", b"access to ", b"not found")
# Keys under which training tools save the model's tensors; others contain an optimizer's state and the like.
WRAPPERS = ("state_dict", "model_state_dict", "module", "model", "params_ema", "params")
UNSAFE = re.compile(r"GLOBAL (?P<name>[\w.]+)")


class Reader(Protocol):
    """An open model file."""

    def keys(self) -> Iterable[str]:
        """The names of its tensors."""

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape, without loading it where the format allows that."""

    def tensor(self, key: str) -> Tensor:
        """A tensor on the CPU."""


class SafetensorsReader:
    """A memory-mapped safetensors file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def keys(self) -> Iterable[str]:
        """The names of its tensors."""
        return list(self.file.keys())

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self.file.get_slice(key).get_shape())

    def tensor(self, key: str) -> Tensor:
        """A tensor on the CPU."""
        found: Tensor = self.file.get_tensor(key)
        return found


class PickleReader(dict[str, Tensor]):
    """The tensors of a loaded pickle."""

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self[key].shape)

    def tensor(self, key: str) -> Tensor:
        """A tensor on the CPU."""
        return self[key]


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model file, by its published name (see `weight_keys`).

    Only the header of a safetensors file is read. Raises ModelError for an unreadable file.
    """
    return _read(path, lambda reader, key: reader.shape(key))


def read_tensors(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Tensor]:
    """The tensors of a model by their published names, on the CPU, memory-mapped where the format allows it.

    Of a safetensors file, only those are read whose name is `wanted`.

    `path` may be the index of a sharded model. A `state_dict` is unwrapped; nested dicts (an
    IP-Adapter's .bin) get dotted keys; see `weight_keys` for the names. Raises ModelError for an unreadable
    file.
    """
    return _read(path, lambda reader, key: reader.tensor(key), wanted)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, empty for other formats. Raises ModelError."""
    if format_of(path) != "safetensors":
        return {}
    with _opened(path) as reader:
        return dict(reader.file.metadata() or {}) if isinstance(reader, SafetensorsReader) else {}


def _read(
    path: Path, get: Callable[[Reader, str], T], wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, T]:
    with ExitStack() as stack:
        found: dict[str, Reader] = {}
        for part in parts_of(path):
            reader = stack.enter_context(_opened(part))
            found |= dict.fromkeys(reader.keys(), reader)
        try:
            names = usual_names({key: reader.shape(key) for key, reader in found.items()})
            return {name: get(found[key], key) for name, key in names.items() if wanted(name)}
        # the parser raises many kinds of exceptions on broken data
        except Exception as error:
            raise _broken(path, error) from error


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    if format_of(path) == "torch":
        yield _read_pickle(path)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except Exception as error:
            raise _broken(path, error) from error
        yield SafetensorsReader(file)


def format_of(path: Path) -> Format:
    """The format of a model file. Raises ModelError for a pointer, a web page or an empty file."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise _broken(path, error) from error
    header_bytes = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_bytes < 1 << 40:
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return "torch"
    _require_download(path.name, head)
    return "safetensors" if path.suffix.lower() == ".safetensors" else "torch"


def _require_download(name: str, head: bytes) -> None:
    """Raise ModelError for a failed download: an empty file, a Git LFS pointer, or a web page."""
    if not head:
        raise ModelError(f"{name}: the file is empty: download it again")
    if head.startswith(LFS):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        gigabytes = f" ({int(size[1]) / 2**30:.2f} GB)" if size else ""
        raise ModelError(
            f"{name}: a Git LFS pointer, not the weights{gigabytes}: run 'git lfs pull' in its repository, "
            "or download the file itself"
        )
    if head.lstrip().lower().startswith(PAGES):
        text = " ".join(head[:60].decode("utf-8", "replace").split())
        raise ModelError(
            f"{name}: a web page or a message ({text!r}), not the weights: download the file itself; "
            "you may have to log in first"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with a JSON object. Raises ModelError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object")
    return content


def _read_pickle(path: Path) -> PickleReader:
    try:
        content = _load_pickle(path)
    except Exception as error:
        raise _broken(path, error) from error
    tensors = (
        PickleReader(_flatten(_unwrapped(content), "")) if isinstance(content, Mapping) else PickleReader()
    )
    if not tensors:
        raise ModelError(f"{path.name}: no tensors in this file")
    return tensors


def _load_pickle(path: Path) -> Any:
    """The content of a pickle, memory-mapped where it is a zip file."""
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    if path.suffix.lower() == ".safetensors":  # torch decides by the suffix
        with path.open("rb") as file:
            return torch.load(file, **options)
    return torch.load(str(path), mmap=zipfile.is_zipfile(path), **options)


def _unwrapped(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The innermost dict of a training checkpoint, which holds the model's tensors."""
    for _ in range(DEEPEST):
        inside = (content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping))
        inner = next(inside, None)
        if not inner:
            break
        content = inner
    return content


def _flatten(content: Mapping[Any, Any], prefix: str, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping) and depth < DEEPEST:
            yield from _flatten(value, f"{prefix}{key}.", depth + 1)


def _broken(path: Path, error: Exception) -> ModelError:
    if isinstance(error, ModelError):
        return error
    if not path.is_file():
        return ModelError(f"{path.name}: no such file")
    text = str(error)
    if "TorchScript" in text:
        return ModelError(f"{path.name}: a TorchScript program, not weights: use a file that holds tensors")
    if "weights_only" in text:
        unsafe = UNSAFE.search(text)
        what = f"{unsafe['name']}, which is no tensor" if unsafe else "more than tensors"
        return ModelError(
            f"{path.name}: the pickle is broken, or holds {what} and could run code; "
            "convert it to safetensors"
        )
    reason = (text or type(error).__name__).splitlines()[0][:120]
    return ModelError(f"{path.name}: cannot be read, broken or incomplete ({reason})")
