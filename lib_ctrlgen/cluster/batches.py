"""Cells shared out among workers: batches that keep all of them busy, every cell finished once. No Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.tuner.worker import Stack, Task

LOSSES = 3  # workers that a batch may take with it
SHARES = 3  # batches per worker, at least: the last ones end at about the same time
MOST = 16  # cells of one batch, which is what a lost worker loses

Failed = tuple[Task, Exception]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Cells that one worker makes; `losses` counts the workers that were lost over them."""

    tasks: tuple[Task, ...]
    losses: int = 0


class Batches:
    """What is still to be handed out."""

    def __init__(self, stacks: Sequence[Stack], workers: int) -> None:
        self.waiting = deque(divided(stacks, workers))

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def take(self) -> Batch:
        """The next one. Raises IndexError where none is left."""
        return self.waiting.popleft()

    def lost(self, batch: Batch) -> list[Failed]:
        """A worker was lost over a batch: another one takes over, in the end cell by cell.

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
        error = HostError(f"given up: {losses} workers were lost over this cell (out of memory?)")
        return [(task, error) for task in batch.tasks]


def divided(stacks: Sequence[Stack], workers: int) -> Iterator[Batch]:
    """Stacks in even pieces, few enough cells in each that every worker gets some.

    >>> [len(batch.tasks) for batch in divided([[object()] * 7], 1)]
    [3, 3, 1]
    """
    cells = sum(map(len, stacks))
    most = min(MOST, max(1, math.ceil(cells / (workers * SHARES))))
    for stack in stacks:
        size = math.ceil(len(stack) / math.ceil(len(stack) / most)) if stack else most
        for start in range(0, len(stack), size):
            yield Batch(tasks=tuple(stack[start : start + size]))
