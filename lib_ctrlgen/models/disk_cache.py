"""A folder of results that are kept between processes, up to a number of bytes.

Several processes may use one folder at the same time. A file appears whole or not at all, ends with the
SHA-256 of its content, and is removed if that does not fit.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import RLock

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import PART, whole_path

from .memory import GB
from .weights import own_folder

logger = logging.getLogger("ctrlgen")
DIGEST = hashlib.sha256().digest_size
FULLEST = 0.9  # share of the limit that is left when files are removed
COUNTED_AGAIN = 32  # files written by this process, after which those of other processes are counted, too
PRIVATE = 0o700  # the folder's mode: other users of the machine do not see its files
ABANDONED = 3600.0  # seconds after which an unfinished file is that of a process that was killed


@dataclass(frozen=True)
class Kept:
    """A file of the cache: when it was used last, and its size in bytes."""

    used: float
    size: int
    path: Path


@dataclass
class Counts:
    """What a cache did in this process: results found, not found, and written."""

    hits: int = 0
    misses: int = 0
    written: int = 0


@dataclass
class _State:
    """The bytes in the folder as far as they are known, and whether results are still written."""

    total: int = -1
    since: int = 0
    writes: bool = True


@dataclass(frozen=True, eq=False)
class DiskCache:
    """Results by key in a folder, as files with a suffix. Thread-safe.

    limit  bytes; beyond it, the files that were used longest ago are removed. Another process that writes at
           the same time may exceed it by some files
    """

    folder: Path
    limit: int
    suffix: str = ".png"
    counts: Counts = field(default_factory=Counts)
    _state: _State = field(default_factory=_State)
    _lock: RLock = field(default_factory=RLock)

    def get(self, key: str) -> bytes | None:
        """The result of a key (hex digits), None if there is none; a damaged file is removed."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except OSError:
            data = None
        content = None if data is None else whole(data)
        if data is not None and content is None:
            logger.warning("%s is damaged: it is removed, and the result is computed again", path)
            self.remove(key)
        with self._lock:
            self.counts.hits += content is not None
            self.counts.misses += content is None
        if content is not None:
            with suppress(OSError):
                os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep a result. After the first failure nothing more is written, and a warning is logged once."""
        size = len(content) + DIGEST
        with self._lock:
            if not self._state.writes or size > self.limit:
                return
            path = self.path(key)
            try:
                self.folder.mkdir(PRIVATE, parents=True, exist_ok=True)
                with whole_path(path) as part:
                    part.write_bytes(content + hashlib.sha256(content).digest())
            except (HostError, OSError) as error:
                if path.is_file():  # another process wrote the same result, and somebody reads it now
                    return
                self._state.writes = False
                logger.warning("results are no longer kept on disk: %s", error)
                return
            self.counts.written += 1
            self._count(size)

    def remove(self, key: str) -> None:
        """Remove a result that cannot be used."""
        with suppress(OSError):
            self.path(key).unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / key[:2] / f"{key}{self.suffix}"

    def files(self) -> Iterator[Kept]:
        """All files, in no order; unfinished ones of killed processes are removed."""
        for path in self.folder.glob(f"*/*{self.suffix}"):
            with suppress(OSError):  # another process has removed it
                state = path.stat()
                if not path.name.startswith("."):
                    yield Kept(state.st_mtime, state.st_size, path)
                elif PART in path.name and time.time() - state.st_mtime > ABANDONED:
                    path.unlink()

    def _count(self, size: int) -> None:
        """Add a written file to the known bytes, and remove old files if they exceed the limit."""
        state = self._state
        state.total += size
        state.since += 1
        if state.total <= self.limit and state.total - size >= 0 and state.since < COUNTED_AGAIN:
            return
        found = sorted(self.files(), key=lambda each: each.used)
        state.total, state.since = sum(each.size for each in found), 0
        if state.total <= self.limit:
            return
        for each in found:
            if state.total <= FULLEST * self.limit:
                break
            with suppress(OSError):
                each.path.unlink(missing_ok=True)
            state.total -= each.size


def whole(data: bytes) -> bytes | None:
    """The content of a file's bytes; None if it is not the one that was written."""
    content, digest = data[:-DIGEST], data[-DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


def key_of(*parts: Hashable | bytes) -> str:
    """The key of a result, 64 hex digits: a hash of everything that it depends on, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "backslashreplace")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def map_cache(gigabytes: float) -> DiskCache | None:
    """The process's cache of control maps, in CtrlGen's own folder; None for 0 GB."""
    return _opened(own_folder() / "maps", int(gigabytes * GB)) if gigabytes > 0 else None


@lru_cache(maxsize=4)
def _opened(folder: Path, limit: int) -> DiskCache:
    return DiskCache(folder, limit)
