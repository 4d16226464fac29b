"""How many bytes the cache of loaded models may fill: a fixed number, or what the machine has free."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

GB = 1 << 30
LEAST = 4 * GB  # the cache's limit is never below this
RESERVE = 2 * GB  # this stays free for activations and for other programs,
RESERVED_SHARE = 0.25  # or this share of the memory if it is more
LARGEST_SHARE = 0.6  # of the memory is the highest limit: memory-mapped files do not count as used
CGROUP = Path("/sys/fs/cgroup")
# The files of control groups (version 2, then 1): limit, usage, statistics; and the line of the statistics
# with the used bytes that can be reclaimed.
_CONTAINERS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Memory:
    """The size of a memory in bytes, and how many of them are free."""

    total: int
    available: int


@dataclass(frozen=True, kw_only=True)
class OutsideTorch:
    """Base of cached values that fill the CPU's memory without tensors, such as networks of onnxruntime."""

    cpu_bytes: int


class Budget(Protocol):
    """Limits the bytes of a memory (`cpu`, or a device type such as `cuda`) that cached models may fill."""

    @property
    def least(self) -> int:
        """The bytes that they may always fill."""

    @property
    def advice(self) -> str:
        """The end of the message for models that do not fit; it may contain `{needed}`, in GB."""

    def limit(self, memory: str, used: int) -> int:
        """The bytes that they may fill, given that they fill `used` bytes now."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A budget of the same number of bytes in every memory, at all times."""

    least: int
    advice: str = ""

    def limit(self, _memory: str, _used: int) -> int:
        """The fixed number of bytes."""
        return self.least


def memory_of(memory: str) -> Memory | None:
    """The size and the free bytes of a memory; None if they are unknown."""
    if memory == "cuda":
        return cuda_memory()
    return host_memory() if memory == "cpu" else None


@dataclass(frozen=True, kw_only=True)
class Automatic:
    """A budget of the free bytes plus those that the cache fills, minus a reserve, but at least `least`.

    `measure` returns the size and the free bytes of a memory.
    """

    least: int = LEAST
    advice: str = ""
    measure: Callable[[str], Memory | None] = memory_of

    def limit(self, memory: str, used: int) -> int:
        """The bytes that the cache may fill, given that it fills `used` bytes now."""
        found = self.measure(memory)
        if found is None:
            return self.least
        reserve = max(RESERVE, RESERVED_SHARE * found.total)
        room = min(LARGEST_SHARE * found.total, found.available + used - reserve)
        return max(self.least, int(room))


def memory_type(device: torch.device) -> str:
    """The name of the memory that holds a device's tensors; Apple's GPUs (`mps`) share the CPU's."""
    return "cpu" if device.type == "mps" else device.type


def cuda_memory() -> Memory | None:
    """The current GPU's memory. What torch has reserved but does not use counts as free."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    idle = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return Memory(total=int(total), available=int(free + idle))


def host_memory() -> Memory:
    """The machine's memory, or the container's if that has less."""
    found = psutil.virtual_memory()
    machine = Memory(total=int(found.total), available=int(found.available))
    container = container_memory(CGROUP)
    if container is None:
        return machine
    return Memory(
        total=min(machine.total, container.total), available=min(machine.available, container.available)
    )


def container_memory(root: Path) -> Memory | None:
    """The memory that the Linux control group at `root` may use; None if it has no limit."""
    for limit, usage, statistics, reclaimable in _CONTAINERS:
        with suppress(OSError, ValueError, KeyError):
            total, used = int((root / limit).read_text()), int((root / usage).read_text())
            lines = (root / statistics).read_text().splitlines()
            back = int(dict(line.split(maxsplit=1) for line in lines if " " in line)[reclaimable])
            return Memory(total=total, available=max(0, total - used + back))
    return None
