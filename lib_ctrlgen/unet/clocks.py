"""Clocks say where a U-Net call stands: at which step, and what each of its rows is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from lib_ctrlgen.errors import HostError

from .call import Position, Rows, repetitions


class Clock(Protocol):
    """Called once per U-Net call with the number of rows; says where the call stands."""

    def __call__(self, batch: int) -> Position:
        """The position of a call with `batch` rows. Raises HostError when it cannot be told."""


class CountingClock:
    """One call per step with the same rows each time, as diffusers' pipelines do.

    With guidance the batch is the unconditional rows, then the conditional ones, of each image one for
    each of `owners`: the concepts that they belong to. `copies` is that of `Position`.
    """

    def __init__(
        self, steps: int, images: int, *, guided: bool, owners: tuple[int, ...] = (0,), copies: int = 1
    ) -> None:
        self.steps = steps
        self.copies = copies
        self.step = 0
        unconds = tuple(range(images)) if guided else ()
        conds = tuple(image for image in range(images) for _ in owners)
        kinds = (False,) * len(unconds) + (True,) * len(conds)
        self.rows = Rows(kinds, unconds + conds, (0,) * len(unconds) + owners * images)

    def __call__(self, batch: int) -> Position:
        """The next step's position."""
        if batch != len(self.rows):
            raise HostError(f"the U-Net was called with {batch} rows, expected {len(self.rows)}")
        if self.step >= self.steps:
            raise HostError(f"the U-Net was called more often than the {self.steps} steps of the plan")
        position = Position(self.step, self.steps, self.rows, copies=self.copies)
        self.step += 1
        return position


class Row(NamedTuple):
    """One row of a batch."""

    cond: bool
    image: int
    concept: int = 0


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
        self.copies = 1
        self.waiting: deque[tuple[Row, int]] = deque()

    def begin(
        self, step: int, steps: int, rows: Iterable[Row], *, hires: bool = False, copies: int = 1
    ) -> None:
        """Announce a step: its rows in the order in which they will be called. `copies`: see `Position`."""
        self.copies = copies
        self.step, self.steps, self.hires = min(step, steps - 1), steps, hires
        announced = list(rows)
        self.waiting = deque(zip(announced, repetitions(announced), strict=True))

    def __call__(self, batch: int) -> Position:
        """The position of the next `batch` rows."""
        if batch > len(self.waiting):
            raise HostError(
                f"the U-Net was called with {batch} rows in step {self.step}, but {len(self.waiting)} are "
                "expected: another extension calls the U-Net by itself; switch it off for this generation"
            )
        taken = [self.waiting.popleft() for _ in range(batch)]
        rows = Rows(
            tuple(row.cond for row, _ in taken),
            tuple(row.image for row, _ in taken),
            tuple(row.concept for row, _ in taken),
            tuple(nth for _, nth in taken),
        )
        return Position(self.step, self.steps, rows, self.hires, self.copies)
