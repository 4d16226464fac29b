"""Latents, encoded captions and image features, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from lib_ctrlgen.models.disk_cache import DiskCache, key_of

LIMIT = 64 << 30  # bytes in one training's folder


@dataclass(frozen=True)
class TensorCache:
    """Named tensors by key in a folder. `base` is what all depend on, such as the checkpoint's hash."""

    disk: DiskCache
    base: str

    @staticmethod
    def at(folder: Path, base: str) -> TensorCache:
        """The cache in a folder, which is made when something is written."""
        return TensorCache(DiskCache(folder, LIMIT, ".safetensors"), base)

    def get(self, key: tuple[object, ...], compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of a key, on the CPU; computed and written when they are not there."""
        name = key_of(self.base, *(repr(part) for part in key))
        data = self.disk.get(name)
        if data is not None:
            return load(data)
        found = {each: tensor.detach().cpu().contiguous() for each, tensor in compute().items()}
        self.disk.put(name, save(found))
        return found
