"""Data-parallel training in several processes of one thread each, with equal shares of every batch.

A small network gains little from a second thread, but much from a second process.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

T = TypeVar("T")

# Large tensors are allocated at every step: without this the C library returns their pages to the
# system each time, which takes a quarter of the step.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def launch(count: int, work: Callable[[], None]) -> None:
    """Run `work`, which must be picklable, in `count` processes of one thread; returns when all are done."""
    os.environ.update(ALLOCATOR, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        spawn(_enter, (count, Path(folder) / "meeting", work), nprocs=count)  # type: ignore[no-untyped-call]


def _enter(rank: int, count: int, meeting: Path, work: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    if rank == 0:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)
    work()
    distributed.barrier()


def rank() -> int:
    """The number of this process; process 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def leader_first(make: Callable[[], T]) -> T:
    """The result of `make`, called by process 0 before the others (it may write a cache that they read)."""
    if rank() == 0:
        made = make()
    if count() > 1:
        distributed.barrier()
    return made if rank() == 0 else make()


def shared(work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`work(rows)`, computed in parts by all processes; its result must have the shape of `rows` [N, ...]."""
    if count() == 1 or len(rows) < 2 * count():
        return work(rows)
    done = torch.zeros_like(rows)
    mine = slice(rank(), None, count())
    done[mine] = work(rows[mine])
    distributed.all_reduce(done)
    return done


def average_gradients(params: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes; a missing one counts as zero."""
    if count() == 1:
        return
    for param in params:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
    grads = [param.grad for param in params if param.grad is not None]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    distributed.all_reduce(flat)
    flat /= count()
    for grad, part in zip(grads, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
