"""Writes the state of a training, and reads whether it is asked to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from lib_ctrlgen.errors import StoppedError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_state import STATE, STOP, TrainingState

OFTEN = 1.0  # seconds between two writings of a state that only counts steps

Observer = Callable[[TrainingState], None]


class RunState:
    """The state of a run: kept, shown to an observer, and written into the run's folder."""

    def __init__(self, spec: TrainingSpec, folder: Path, observer: Observer | None = None) -> None:
        self.folder, self.observer = folder, observer
        self.now = TrainingState(
            status="checking", kind=spec.kind, out=spec.out, process=os.getpid(), steps=spec.steps
        )
        self._written = -OFTEN

    def change(self, **fields: Any) -> None:
        """Change fields. Changes that only count are written once a second, others at once."""
        hurried = not fields.keys() <= {"step", "loss", "seconds_left", "cached", "to_cache"}
        self.now = replace(self.now, **fields)
        if self.observer is not None:
            self.observer(self.now)
        if hurried or time.monotonic() - self._written >= OFTEN:
            save_bytes(msgspec.json.format(msgspec.json.encode(self.now)), self.folder / STATE)
            self._written = time.monotonic()

    def cache(self, done: int, total: int) -> None:
        """Count a picture that was made or encoded. Raises StoppedError if somebody asked to stop."""
        self.change(cached=done, to_cache=total)
        if self.asked_to_stop:
            raise StoppedError(
                f"stopped after {done} of {total} pictures before the first step; "
                "the same command goes on from there"
            )

    def forget_stop(self) -> None:
        """Remove an earlier wish to stop."""
        (self.folder / STOP).unlink(missing_ok=True)

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody asked the training to stop."""
        return (self.folder / STOP).exists()
