"""Many generations in one process, half of them failing or interrupted: what is left of them.

Small random SD1.5 and SDXL models at 64 px with stacks of one to three units of all families, in the
headless engine and at the WebUI's edge (a fake host around real U-Nets) in turn. Faults come in a
layer of the U-Net, in the hooks, in loading, in decoding or saving, by the interrupt button, and by
requests that are wrong; see tests/support/soaking.py. After every generation the networks are compared with
what they were, at the end every finished picture with the one of an engine that did nothing before.

    generations, finished
    failed_PLACE     generations that failed at this place
    changes          generations after which a tensor, a module, a hook, an attribute or a callback
                     was not as before
    unexpected       failures that were not caused, or did not reach the caller
    picture_error    the largest difference of a finished picture from that of its request alone, in 1/255
    memory_growth    of the process (RSS) from the first to the last quarter of what follows a warm-up
                     of a fifth, as a part
    tensor_growth, object_growth    the same of the bytes of all tensors, and the number of objects,
                     that Python's garbage collector knows
    block_growth     the same of all blocks that Python's allocator has given out, also for objects that
                     the garbage collector does not know (no limit: safetensors leaks two integers for
                     every tensor that it reads, which shows here and in memory_growth of long runs)
"""

from __future__ import annotations

import ctypes
import gc
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from _harness import Result, at_most, effort, finish, parser

sys.path.append(str(Path(__file__).resolve().parent.parent))  # the tests make random files of every family

from tests.support import soak_headless, soak_webui

SHOWN = 50  # generations between two lines
SAMPLED = 5  # generations between two looks at the memory


class Host(Protocol):
    """A host that makes generations by number."""

    failed: dict[str, int]

    def generation(self, seed: int) -> np.ndarray | None:
        """Its pictures, or None where it was made to fail."""

    def alone(self, seed: int) -> np.ndarray:
        """What its request gives where nothing was done before."""

    def changes(self) -> list[str]:
        """What is not as it was at the beginning."""


@dataclass
class Memory:
    """What the process holds, now and then."""

    rss: list[float] = field(default_factory=list)
    tensors: list[float] = field(default_factory=list)
    objects: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)

    def sample(self) -> None:
        """Look."""
        gc.collect()
        with suppress(OSError, AttributeError):  # freed memory that glibc keeps is no leak
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        found = gc.get_objects()
        storages = {
            each.data_ptr(): each.untyped_storage().nbytes() for each in found if type(each) is torch.Tensor
        }
        storages.pop(0, None)
        self.rss.append(psutil.Process().memory_info().rss)
        self.tensors.append(sum(storages.values()))
        self.objects.append(len(found))
        self.blocks.append(sys.getallocatedblocks())

    def growth(self) -> dict[str, float]:
        """Of each, from the first to the last quarter after the warm-up."""
        named = {
            "memory_growth": self.rss,
            "tensor_growth": self.tensors,
            "object_growth": self.objects,
            "block_growth": self.blocks,
        }
        return {name: growth(values) for name, values in named.items()}


def growth(values: Sequence[float]) -> float:
    """By which part the last quarter's median is above the first one's, without the first fifth of all."""
    settled = values[len(values) // 5 :]
    part = max(1, len(settled) // 4)
    return statistics.median(settled[-part:]) / statistics.median(settled[:part]) - 1


@dataclass
class Soak:
    """The generations so far. Number n is made by host n modulo the number of hosts."""

    hosts: Sequence[Host]
    memory: Memory = field(default_factory=Memory)
    finished: dict[int, np.ndarray] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def host(self, number: int) -> Host:
        """Who makes this one."""
        return self.hosts[number % len(self.hosts)]

    def generation(self, number: int) -> None:
        """Make one, and look at what it left."""
        try:
            made = self.host(number).generation(number)
            if made is not None:
                self.finished[number] = made
        except Exception as error:  # noqa: BLE001 - counted and shown
            self.unexpected.append(f"{number}: {type(error).__name__}: {error}")
        for change in self.host(number).changes():
            self.changes.append(f"{number}: {change}")
        if number % SAMPLED == 0:
            self.memory.sample()

    def picture_error(self) -> float:
        """The largest difference of a finished picture from its request's alone."""
        pairs = [(self.host(number).alone(number), made) for number, made in self.finished.items()]
        return max((float(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in pairs), default=0.0)

    def figures(self) -> dict[str, float]:
        """What there is to say of them."""
        failed: dict[str, float] = {}
        for host in self.hosts:
            for place, count in host.failed.items():
                failed[f"failed_{place}"] = failed.get(f"failed_{place}", 0) + count
        return {
            "finished": len(self.finished),
            **dict(sorted(failed.items())),
            "changes": len({change.partition(":")[0] for change in self.changes}),
            "unexpected": len(self.unexpected),
            "picture_error": self.picture_error(),
            **self.memory.growth(),
        }


@contextmanager
def hosts() -> Iterator[list[Host]]:
    """Both, over models in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soak_headless.write_models(folder / "headless")
        with soak_webui.hosted(folder / "webui") as webui:
            yield [soak_headless.HeadlessSoak(folder / "headless"), webui]


def main() -> int:
    """Make the generations, print, and say whether every limit holds."""
    options = parser("What many generations, half of them failing, leave behind.").parse_args()
    count = effort(options, smoke=2, quick=60, full=500)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    with hosts() as both:
        soak = Soak(both)
        for number in range(count):
            soak.generation(number)
            if (number + 1) % SHOWN == 0:
                print(f"{number + 1} generations, {time.perf_counter() - start:.0f} s", flush=True)
        figures = {"generations": float(count), **soak.figures(), "seconds": time.perf_counter() - start}
    for line in (*soak.unexpected[:20], *soak.changes[:20]):
        print(line)
    limits = {"changes": at_most(0), "unexpected": at_most(0), "picture_error": at_most(1)}
    if not options.quick:  # sixty generations do not fill the caches
        limits |= {name: at_most(0.02) for name in ("memory_growth", "tensor_growth", "object_growth")}
    return finish(Result("soak", figures, limits), options)


if __name__ == "__main__":
    sys.exit(main())
