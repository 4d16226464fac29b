"""The cache of loaded models and of values computed from them, and the folders where models are found."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock, get_ident
from typing import Any, TypeVar

import torch

from .disk_cache import DiskCache
from .index import ModelIndex
from .memory import GB, Budget, Fixed
from .model_files import ModelFiles
from .sizes import sizes_by_memory
from .weight_files import stamp
from .weights import weight_folders

T = TypeVar("T")

logger = logging.getLogger("ctrlgen")
COMPUTED = "computed"  # the first part of the keys of values that are not read from a file


@dataclass(frozen=True)
class Entry:
    """A cached value, and the bytes of its tensors in each memory."""

    value: Any
    sizes: Mapping[str, int]


class ModelStore:
    """Model folders, and a cache of the models that were loaded from them and of computed values.

    When the cached tensors exceed the budget of a memory (a number of bytes or a `Budget`), the values
    that were used longest ago are dropped, but none of an entered `WorkingSet`. A dropped value stays in
    memory as long as other objects refer to it. Thread-safe: a second thread that needs a model waits until
    the first one has loaded it.

    `reads` counts loads from disk. `weight_folders` are the folders for `weights.find_weights`, among them
    those in `weights`, which the user named for the weights of preprocessors. `index` remembers what was
    computed of files. `disk` keeps control maps between processes; None keeps them in memory alone.
    `detecting` is held while a preprocessor's network runs, so that one runs at a time.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        budget: int | Budget,
        weights: Sequence[Path] = (),
        index: ModelIndex | None = None,
        disk: DiskCache | None = None,
    ) -> None:
        self.files = ModelFiles(roots, index)
        self.weight_folders = weight_folders(self.files.roots, weights)
        self.budget = Fixed(least=budget) if isinstance(budget, int) else budget
        self.reads = 0
        self.disk = disk
        self.detecting = RLock()
        self._lock = RLock()
        self._cache: OrderedDict[Hashable, Entry] = OrderedDict()
        self._entered: list[tuple[int, WorkingSet]] = []  # each with the thread that entered it
        self._last: dict[Hashable, None] = {}  # the keys that the last working set used
        self._logged: set[str] = set()

    @property
    def roots(self) -> tuple[Path, ...]:
        """The model folders."""
        return self.files.roots

    @property
    def used_bytes(self) -> int:
        """Bytes of all tensors in the cache."""
        with self._lock:
            return sum(sum(entry.sizes.values()) for entry in self._cache.values())

    def used(self, memory: str, keys: Sequence[Hashable] | None = None) -> int:
        """Bytes of the cached tensors in one memory, of all values or of some."""
        with self._lock:
            chosen = self._cache if keys is None else [key for key in keys if key in self._cache]
            return sum(self._cache[key].sizes.get(memory, 0) for key in chosen)

    def get(self, path: Path, loader: Callable[[Path], T], *variant: Hashable) -> T:
        """Return `loader(path)`, from the cache if the file has not changed since.

        `variant` is the rest of the cache key: everything that the result depends on beside the file (dtype,
        device, ...). `loader` must be a named function, because its name is part of the key. Raises
        ModelError if the file does not exist, and whatever `loader` raises.
        """
        name = f"{loader.__module__}.{loader.__qualname__}"
        return self._recall((*stamp(path), name, *variant), lambda: self._read(path, loader))

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the cached value of a key, such as an image's features, or else compute and cache it."""
        return self._recall((COMPUTED, key), compute)

    def working_set(self) -> WorkingSet:
        """A new set for one generation: enter it while models are loaded, and again while they are used."""
        return WorkingSet(store=self)

    def _read(self, path: Path, loader: Callable[[Path], T]) -> T:
        self.reads += 1
        return loader(path)

    def _recall(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            known = key in self._cache
            if not known:
                with torch.inference_mode(mode=False), torch.no_grad():
                    value = make()
                self._cache[key] = Entry(value, sizes_by_memory(value))
            self._cache.move_to_end(key)
            for thread, entered in self._entered:
                if thread == get_ident():
                    entered.note(key, self._last)
            found: T = self._cache[key].value
            if not known:
                self._shrink()
            return found

    def enter(self, entered: WorkingSet) -> None:
        """Begin to protect the values of a working set, and to record what this thread uses."""
        with self._lock:
            self._entered.append((get_ident(), entered))

    def leave(self, entered: WorkingSet) -> str:
        """End the protection of a working set, and drop values until the budget holds.

        Returns a message if the set alone exceeds the budget, else an empty text.
        """
        with self._lock:
            last = max(i for i, (_, each) in enumerate(self._entered) if each is entered)
            del self._entered[last]
            self._last = dict(entered.keys)
            shortage = self._shortage(list(entered.keys))
            self._shrink(last=list(entered.keys))
            return shortage

    def _shortage(self, keys: Sequence[Hashable]) -> str:
        """The message that the values of these keys exceed a memory's budget; it is logged once."""
        for memory in self._memories():
            needed, limit = self.used(memory, keys), self.budget.limit(memory, self.used(memory))
            if needed > limit:
                text = (
                    f"the models of this generation fill {needed / GB:.2f} GB ({memory}), of which "
                    f"{limit / GB:.2f} GB may stay loaded: some are read again for each generation. "
                    + self.budget.advice.format(needed=needed / GB + 0.05)
                )
                key = f"{memory} {needed / GB:.1f}"  # the limit changes all the time
                if key not in self._logged:
                    self._logged.add(key)
                    logger.warning("%s", text)
                return text
        return ""

    def _memories(self) -> set[str]:
        return {memory for entry in self._cache.values() for memory in entry.sizes}

    def _shrink(self, last: Sequence[Hashable] = ()) -> None:
        """Drop values until each memory's budget holds: least recently used first, those of `last` last."""
        pinned = {key for _, entered in self._entered for key in entered.keys}
        if any(entered.repeats for _, entered in self._entered):
            pinned |= self._last.keys()
        for memory in self._memories():
            used = self.used(memory)
            excess = used - self.budget.least
            if excess > 0:
                excess = used - self.budget.limit(memory, used)
            sizes = {key: size for key, each in self._cache.items() if (size := each.sizes.get(memory, 0))}
            free = {key: size for key, size in sizes.items() if key not in pinned}
            for key in _dropped(free, excess, set(last)):
                del self._cache[key]

    def clear(self) -> None:
        """Drop all cached values."""
        with self._lock:
            self._cache.clear()

    def refresh(self) -> None:
        """Search the folders again when a model is looked up next."""
        self.files.refresh()

    def names(self) -> list[str]:
        """The names of all model files, relative to their root and without suffix, sorted."""
        return self.files.names()

    def resolve(self, name: str) -> Path:
        """The file of a model name, see `ModelFiles.find`. Raises ModelError."""
        return self.files.find(name)

    def folders(self) -> dict[str, Path]:
        """Folders with a config.json (diffusers and transformers models), by relative name."""
        return self.files.folders()


def _dropped(sizes: Mapping[Hashable, int], excess: int, last: set[Hashable]) -> Iterator[Hashable]:
    """The keys to drop so that `excess` bytes become free; `sizes` begins with the key used longest ago.

    Keys in `last` are dropped after all others. Of these, the smallest value that is sufficient is dropped,
    or else the largest one, because reading one file again is cheaper than reading several.
    """
    for key, size in sizes.items():
        if excess > 0 and key not in last:
            excess -= size
            yield key
    rest = sorted((size, place, key) for place, (key, size) in enumerate(sizes.items()) if key in last)
    while excess > 0 and rest:
        chosen = next((each for each in rest if each[0] >= excess), rest[-1])
        rest.remove(chosen)
        excess -= chosen[0]
        yield chosen[2]


@dataclass(eq=False)
class WorkingSet:
    """The cached values that one generation uses. While it is entered, none of them is dropped.

    repeats   whether only files of the last working set were used so far. Then the values of that set are
              not dropped either, so that loading one model again does not drop the next one
    shortage  after leaving, the message that the set does not fit into the budget; empty if it fits
    """

    store: ModelStore
    keys: dict[Hashable, None] = field(default_factory=dict)
    repeats: bool = True
    shortage: str = ""

    def note(self, key: Hashable, last: Mapping[Hashable, None]) -> None:
        """Record that a key is used; `last` are the keys of the last working set."""
        self.keys[key] = None
        computed = isinstance(key, tuple) and key[:1] == (COMPUTED,)
        self.repeats = self.repeats and (computed or key in last)

    def __enter__(self) -> WorkingSet:
        """Protect the values of the set, and add all values that this thread uses from now on."""
        self.store.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End the protection; the store drops values until its budget holds."""
        self.shortage = self.store.leave(self) or self.shortage


@dataclass(frozen=True, eq=False)
class CachedValues:
    """Computed values of a store. This object keeps a reference to them, even if the store drops them."""

    store: ModelStore
    held: dict[Hashable, Any] = field(default_factory=dict)

    def __call__(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of a key: the one that this object refers to, else the store's, else `compute()`."""
        if key not in self.held:
            self.held[key] = self.store.cached(key, compute)
        found: T = self.held[key]
        return found
