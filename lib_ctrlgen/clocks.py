"""Clocks say where a U-Net call stands: at which step, and what each of its rows is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from .calls import Position, Rows
from .errors import HostError


class Clock(Protocol):
    """Called once per U-Net call with the number of rows; says where the call stands."""

    def __call__(self, batch: int) -> Position:
        """The position of a call with `batch` rows. Raises HostError when it cannot be told."""


class CountingClock:
    """One call per step with the same rows each time, as diffusers' pipelines do.

    With guidance the batch is the unconditional rows, then the conditional ones, of each image as many
    as there are `parts`.
    """

    def __init__(self, steps: int, images: int, *, guided: bool, parts: int = 1) -> None:
        self.steps = steps
        self.step = 0
        unconds = tuple(range(images)) if guided else ()
        conds = tuple(image for image in range(images) for _ in range(parts))
        self.rows = Rows((False,) * len(unconds) + (True,) * len(conds), unconds + conds)

    def __call__(self, batch: int) -> Position:
        """The next step's position."""
        if batch != len(self.rows):
            raise HostError(f"the U-Net was called with {batch} rows, expected {len(self.rows)}")
        if self.step >= self.steps:
            raise HostError(f"the U-Net was called more often than the {self.steps} steps of the plan")
        position = Position(self.step, self.steps, self.rows)
        self.step += 1
        return position


class RowQueue:
    """The rows of a step, announced once and taken by one or more calls in order.

    A1111 may run a step's rows in one call, or conditional and unconditional ones
    apart, or in chunks; it may also skip the unconditional rows, so what is left of
    a step is dropped when the next begins.
    """

    def __init__(self) -> None:
        self.step = 0
        self.steps = 1
        self.hires = False
        self.waiting: deque[tuple[bool, int]] = deque()

    def begin(self, step: int, steps: int, rows: Iterable[tuple[bool, int]], *, hires: bool = False) -> None:
        """Announce a step: `rows` are (cond, image) in the order in which they will be called."""
        self.step, self.steps, self.hires = min(step, steps - 1), steps, hires
        self.waiting = deque(rows)

    def __call__(self, batch: int) -> Position:
        """The position of the next `batch` rows."""
        if batch > len(self.waiting):
            raise HostError(
                f"the U-Net was called with {batch} rows in step {self.step}, but {len(self.waiting)} are "
                "expected: another extension calls the U-Net by itself; switch it off for this generation"
            )
        taken = [self.waiting.popleft() for _ in range(batch)]
        rows = Rows(tuple(cond for cond, _ in taken), tuple(image for _, image in taken))
        return Position(self.step, self.steps, rows, self.hires)
