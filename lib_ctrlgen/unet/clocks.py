"""Clocks, which find the step of each U-Net call, and the image and concept of each of its rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from lib_ctrlgen.errors import HostError

from .call import Position, RowName, Rows, repetitions


class Clock(Protocol):
    """Returns the position of each U-Net call; called once per call with the number of its rows."""

    def __call__(self, batch: int) -> Position:
        """Return the position of a call with `batch` rows. Raises HostError for an unexpected call."""


class CountingClock:
    """A clock for hosts that call the U-Net once per step with the same rows, as diffusers' pipelines do.

    With guidance (`guided`) the batch starts with one unconditional row per image. Then come the
    conditional rows: for each image one row per entry of `owners`, which is the row's concept.
    `copies` is that of `Position`.
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
        """Return the position of the next step. Raises HostError for other rows or too many calls."""
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
    """A clock for the WebUI: `begin` announces the rows of a step, and one or more calls take them in order.

    The WebUI may compute a step's rows in one call, in separate calls for conditional and unconditional
    rows, or in chunks. It may also skip the unconditional rows, so rows that no call took are dropped when
    the next step begins.
    """

    def __init__(self) -> None:
        self.step = 0
        self.steps = 1
        self.hires = False
        self.copies = 1
        self.reported: float | None = None
        self.waiting: deque[tuple[Row, int]] = deque()

    def begin(
        self,
        step: int,
        steps: int,
        rows: Iterable[Row],
        *,
        hires: bool = False,
        copies: int = 1,
        reported: float | None = None,
    ) -> None:
        """Announce a step and its rows, in the order of the calls.

        `copies` and `reported` are those of `Position`.
        """
        self.copies, self.reported = copies, reported
        self.step, self.steps, self.hires = min(step, steps - 1), steps, hires
        announced = list(rows)
        self.waiting = deque(zip(announced, repetitions(announced), strict=True))

    def __call__(self, batch: int) -> Position:
        """Return the position of the next `batch` rows. Raises HostError if fewer rows are left."""
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
        waiting = tuple(RowName(row.cond, row.image, row.concept, nth) for row, nth in self.waiting)
        return Position(self.step, self.steps, rows, self.hires, self.copies, waiting, self.reported)
