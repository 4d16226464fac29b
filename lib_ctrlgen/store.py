"""One cache for everything that is loaded, and the only place that turns names into files."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from .errors import ModelError, nearest
from .weights import SUFFIXES

T = TypeVar("T")

WEIGHT_NAMES = ("diffusion_pytorch_model", "model", "pytorch_model", "text_projection")
HASHED = re.compile(r"(?P<name>.*\S)\s*\[[0-9a-fA-F]{8,10}\]")


class ModelStore:
    """Model folders, and a cache of what was loaded from them.

    The cache drops what was used longest ago when its tensors exceed `budget_bytes`.
    What a running generation holds stays alive until it lets go. Safe for threads: a
    second thread that asks for a model waits for the first one's load.

    `reads` counts loads from disk.
    """

    def __init__(self, roots: Sequence[Path], budget_bytes: int) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self.budget_bytes = budget_bytes
        self.reads = 0
        self._lock = RLock()
        self._cache: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._names: dict[str, Path] | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of all tensors in the cache."""
        with self._lock:
            return sum(size for _, size in self._cache.values())

    def get(self, path: Path, loader: Callable[[Path], T], *variant: Hashable) -> T:
        """What `loader` makes of a file, from the cache if the file has not changed.

        `variant` tells apart what one loader makes of one file (dtype, device, ...).
        `loader` must be a named function. Raises ModelError when the file is gone.
        """
        name = f"{loader.__module__}.{loader.__qualname__}"
        return self._recall((*stamp(path), name, *variant), lambda: self._read(path, loader))

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """A computed value (an image's features, ...) under a key of its own."""
        return self._recall(("computed", key), compute)

    def _read(self, path: Path, loader: Callable[[Path], T]) -> T:
        self.reads += 1
        return loader(path)

    def _recall(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._cache:
                with torch.inference_mode(mode=False), torch.no_grad():
                    value = make()
                self._cache[key] = value, sum(tensor_sizes(value).values())
            self._cache.move_to_end(key)
            value = self._cache[key][0]
            self._shrink()
            return value

    def _shrink(self) -> None:
        excess = self.used_bytes - self.budget_bytes
        while excess > 0 and self._cache:
            _, (_, size) = self._cache.popitem(last=False)
            excess -= size

    def clear(self) -> None:
        """Drop everything that was loaded."""
        with self._lock:
            self._cache.clear()

    def refresh(self) -> None:
        """Look at the folders again."""
        with self._lock:
            self._names = None

    def names(self) -> list[str]:
        """The names of all model files, relative to their root and without suffix, sorted."""
        return sorted(self._files())

    def _files(self) -> Mapping[str, Path]:
        with self._lock:
            if self._names is None:
                found = [item for root in self.roots for item in _scan(root)]
                self._names = dict(reversed(found))
            return self._names

    def resolve(self, name: str) -> Path:
        """The file of a model name.

        Tried in this order: the exact name, then without a suffix, a `[hash]` or case,
        by its last part; then the shortest name that contains the text. A path is
        accepted only inside a root. Raises ModelError that lists the nearest names.
        """
        found = self._find(name)
        if found is None:
            self.refresh()
            found = self._find(name)
        if found is None:
            raise ModelError(f"no model named {name!r}; {nearest(name, self.names())}")
        return found

    def _find(self, name: str) -> Path | None:
        if Path(name).is_absolute():
            return self._inside(Path(name))
        files = self._files()
        if name in files:
            return files[name]
        wanted = _plain(name)
        if not wanted:
            return None
        ordered = sorted(files, key=lambda item: (len(item), item))
        for match in (_equal, _equal_stem, _contains):
            found = next((item for item in ordered if match(wanted, item.lower())), None)
            if found is not None:
                return files[found]
        return None

    def _inside(self, path: Path) -> Path:
        real = path.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in self.roots):
            raise ModelError(f"{path} is outside the model folders: give a name from the model list")
        if not real.is_file():
            raise ModelError(f"{path}: no such file")
        return real

    def folders(self) -> dict[str, Path]:
        """Folders with a config.json (diffusers and transformers models), by relative name."""
        found = [
            (_relative(config.parent, root), config.parent)
            for root in self.roots
            for config in walk(root)
            if config.name == "config.json"
        ]
        return dict(reversed(found))


@dataclass(frozen=True, eq=False)
class Kept:
    """Computed values from a store, held as long as this lives, whatever the store drops."""

    store: ModelStore
    held: dict[Hashable, Any] = field(default_factory=dict)

    def __call__(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value under a key."""
        if key not in self.held:
            self.held[key] = self.store.cached(key, compute)
        found: T = self.held[key]
        return found


def _equal(wanted: str, name: str) -> bool:
    return wanted == name


def _equal_stem(wanted: str, name: str) -> bool:
    return wanted == name.rpartition("/")[2]


def _contains(wanted: str, name: str) -> bool:
    return wanted in name


def _plain(name: str) -> str:
    """A user's name without `[hash]`, file suffix and case."""
    hashed = HASHED.fullmatch(name.strip())
    plain = (hashed["name"] if hashed else name).strip().replace("\\", "/").lower()
    suffix = next((suffix for suffix in SUFFIXES if plain.endswith(suffix)), "")
    return plain.removesuffix(suffix)


def _scan(root: Path) -> Iterator[tuple[str, Path]]:
    """Model files under a root by name, sorted; text and vision encoders are left out."""
    for path in walk(root):
        if path.suffix.lower() not in SUFFIXES:
            continue
        folder_model = path.stem.lower().removesuffix(".fp16") in WEIGHT_NAMES
        if folder_model and path.stem.startswith("diffusion_"):
            yield _relative(path.parent, root), path
        elif not (folder_model and (path.parent / "config.json").is_file()):
            yield _relative(path.with_suffix(""), root), path


def walk(root: Path) -> list[Path]:
    """All files under a root, sorted; linked folders are entered, each real folder once."""
    found: list[Path] = []
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
        else:
            seen.add(real)
            found += [Path(folder, name) for name in names]
    return sorted(found)


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return path.name if relative == "." else relative


def stamp(path: Path) -> tuple[Hashable, ...]:
    """Names a file, and changes when it does. Raises ModelError when it is gone."""
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except OSError as error:
        raise ModelError(f"{path.name}: no such file") from error
    return str(real), status.st_mtime_ns, status.st_size


def tensor_sizes(value: object) -> dict[int, int]:
    """Bytes of every tensor and picture in a module, a dataclass or a container, by where they are."""
    if isinstance(value, Image.Image):
        deep = 4 if value.mode in {"F", "I"} else 1
        return {id(value): value.width * value.height * len(value.getbands()) * deep}
    if isinstance(value, Tensor):
        return {} if value.is_meta else {value.data_ptr(): value.numel() * value.element_size()}
    sizes: dict[int, int] = {}
    for part in _parts(value):
        sizes |= tensor_sizes(part)
    return sizes


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, nn.Module):
        yield from value.parameters()
        yield from value.buffers()
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (tuple, list)):
        yield from value
    elif is_dataclass(value):
        for item in fields(value):
            yield getattr(value, item.name)
