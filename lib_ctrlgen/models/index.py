"""Remembers hashes and kinds of model files in a JSON file, so that they are computed once for each file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any
from zlib import crc32

import msgspec

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.names import printable

from .weight_files import INDEX, SHARD, parts_of

logger = logging.getLogger("ctrlgen")
FORMAT = 1
MOST = 50_000  # entries; beyond that, those of files that are gone are dropped
PACKAGE = Path(__file__).resolve().parents[1]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a file of this size (bytes) and time of change (ns); empty: not computed yet.

    hash, hash8, sha256  see `weight_files`
    kind, base, variant  see `description.Description`
    error                why the file cannot be described
    recogniser           the state of the code that described it
    lora                 whether the file is a LoRA, `True` or `False`
    lora_alias, lora_hash  see `loras.file`
    """

    size: int
    changed: int
    hash: str = ""
    hash8: str = ""
    sha256: str = ""
    kind: str = ""
    base: str = ""
    variant: str = ""
    error: str = ""
    recogniser: int = 0
    lora: str = ""
    lora_alias: str = ""
    lora_hash: str = ""


class Saved(msgspec.Struct, forbid_unknown_fields=True):
    """The index's file."""

    format: int
    files: dict[str, Facts]


class ModelIndex:
    """Facts about files by path, kept until the file's size or time of change differs. Thread-safe.

    path  the JSON file in which they are kept between processes; None keeps them in memory alone. A file that
          is damaged or of another format is ignored and replaced.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = RLock()
        self._facts: dict[str, Facts] | None = None
        self._new: dict[str, Facts] = {}

    def facts(self, file: Path) -> Facts:
        """What is known of a file in its present state. Raises ModelError if it is missing."""
        size, changed = _state(file)
        with self._lock:
            if self._facts is None:
                self._facts = self._read()
            known = self._facts.get(printable(str(file)))
        return known if known and (known.size, known.changed) == (size, changed) else Facts(size, changed)

    def note(self, file: Path, known: Facts, **more: Any) -> Facts:
        """Add to what `facts` returned for a file; returns all that is known."""
        facts = msgspec.structs.replace(known, **more)
        with self._lock:
            if self._facts is None:
                self._facts = self._read()
            self._facts[printable(str(file))] = self._new[printable(str(file))] = facts
        return facts

    def computed(self, file: Path, name: str, compute: Callable[[Path], str]) -> str:
        """One text about a file, such as its `hash`: known, or computed now. Raises ModelError."""
        known = self.facts(file)
        found: str = getattr(known, name) or compute(file)
        if not getattr(known, name):
            self.note(file, known, **{name: found})
        return found

    def save(self) -> None:
        """Write what is new, together with what other processes have written meanwhile."""
        with self._lock:
            if self.path is None or not self._new:
                return
            self._facts = {**self._read(), **self._new}
            if len(self._facts) > MOST:
                self._facts = {path: facts for path, facts in self._facts.items() if os.path.exists(path)}  # noqa: PTH110
            self._new = {}
            try:
                save_bytes(msgspec.json.encode(Saved(FORMAT, self._facts)), self.path)
            except HostError as error:
                logger.warning("the list of known model files is not kept: %s", error)

    def _read(self) -> dict[str, Facts]:
        """The facts in the file; none if it is missing, damaged or of another format."""
        if self.path is not None:
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                saved = msgspec.json.decode(self.path.read_bytes(), type=Saved)
                if saved.format == FORMAT:
                    return saved.files
        return {}


@lru_cache(maxsize=8)
def kept_index(path: Path) -> ModelIndex:
    """The process's index in this file."""
    return ModelIndex(path)


def _state(file: Path) -> tuple[int, int]:
    """The size and the time of change of a file, or of all shards together. Raises ModelError."""
    try:
        if not (INDEX.fullmatch(file.name) or SHARD.fullmatch(file.name)):
            state = os.stat(file)  # noqa: PTH116 - half the time of Path.stat in a list of thousands
            return state.st_size, state.st_mtime_ns
        states = [part.stat() for part in dict.fromkeys((file, *parts_of(file)))]
    except OSError as error:
        raise ModelError(f"{file.name}: no such file") from error
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)


def recogniser() -> int:
    """A number that changes with the code that recognises files, so that they are described anew."""
    return crc32(repr(catalogue.CONTROLS).encode(), _code())


@lru_cache(maxsize=1)
def _code() -> int:
    """A checksum of the code in this package that recognises files."""
    number = 0
    for folder in ("controls", "models"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            number = crc32(path.read_bytes(), number)
    return number
