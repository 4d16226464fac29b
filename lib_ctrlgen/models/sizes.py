"""How many bytes of each memory a value's tensors and pictures fill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from PIL import Image
from torch import Tensor, nn

from .memory import OutsideTorch, memory_type


def sizes_by_memory(value: object) -> dict[str, int]:
    """The bytes of a value's tensors in each memory (see `memory_type`); pictures count for `cpu`."""
    found: dict[str, int] = {}
    for memory, size in _measured(value).values():
        found[memory] = found.get(memory, 0) + size
    return found


def tensor_sizes(value: object) -> dict[int, int]:
    """The bytes of every tensor and picture in a module, dataclass or container, by its address."""
    return {place: size for place, (_, size) in _measured(value).items()}


def _measured(value: object) -> dict[int, tuple[str, int]]:
    """The memory and the bytes of every tensor and picture, by its address; shared tensors count once."""
    if isinstance(value, OutsideTorch):
        return {id(value): ("cpu", value.cpu_bytes)}
    if isinstance(value, Image.Image):
        deep = 4 if value.mode in {"F", "I"} else 1
        return {id(value): ("cpu", value.width * value.height * len(value.getbands()) * deep)}
    if isinstance(value, Tensor):
        size = value.numel() * value.element_size()
        return {} if value.is_meta else {value.data_ptr(): (memory_type(value.device), size)}
    sizes: dict[int, tuple[str, int]] = {}
    for part in _parts(value):
        sizes |= _measured(part)
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
