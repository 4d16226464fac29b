"""Distributes cells to workers in batches. It does not use Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lib_ctrlgen.errors import HostError

if TYPE_CHECKING:
    from lib_ctrlgen.tuner.worker import Stack, Task

LOSSES = 3  # a batch is given up after this many lost workers
SHARES = 3  # least number of batches per worker, so that all workers finish at about the same time
MOST = 16  # most cells of a batch; they are lost with its worker

Failed: TypeAlias = "tuple[Task, Exception]"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Cells for one worker; `losses` counts the workers that were lost while they made them."""

    tasks: tuple[Task, ...]
    losses: int = 0


class Batches:
    """A queue of the batches that are still to be made."""

    def __init__(self, stacks: Sequence[Stack], workers: int) -> None:
        self.waiting = deque(divided(stacks, workers))

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def take(self) -> Batch:
        """Remove and return the next batch. Raises IndexError where none is left."""
        return self.waiting.popleft()

    def lost(self, batch: Batch) -> list[Failed]:
        """Put a lost worker's batch back into the queue; after several losses, its cells one by one.

        Returns the cells that are given up, each with its error.
        """
        losses = batch.losses + 1
        if losses < LOSSES:
            self.waiting.appendleft(Batch(tasks=batch.tasks, losses=losses))
            return []
        if len(batch.tasks) > 1:
            alone = [Batch(tasks=(task,), losses=LOSSES - 1) for task in batch.tasks]
            self.waiting.extendleft(reversed(alone))
            return []
        error = HostError(f"given up: {losses} workers were lost while they made this cell (out of memory?)")
        return [(task, error) for task in batch.tasks]


def divided(stacks: Sequence[Stack], workers: int) -> Iterator[Batch]:
    """Split stacks into batches of about equal size, so small that every worker gets several.

    >>> [len(batch.tasks) for batch in divided([[object()] * 7], 1)]
    [3, 3, 1]
    """
    cells = sum(map(len, stacks))
    most = min(MOST, max(1, math.ceil(cells / (workers * SHARES))))
    for stack in stacks:
        size = math.ceil(len(stack) / math.ceil(len(stack) / most)) if stack else most
        for start in range(0, len(stack), size):
            yield Batch(tasks=tuple(stack[start : start + size]))
