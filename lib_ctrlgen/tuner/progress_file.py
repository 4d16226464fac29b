"""The progress of a tuner's run in `progress.json` of its folder, which a host's job route reads.

The file names the server that wrote it, so that a run that ended with its server does not count as running.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lib_ctrlgen.files import save_text

from .scoring.catalogue import VERSION

State: TypeAlias = dict[str, Any]

NAME = "progress.json"
LIVE = ("waiting", "running")  # states that only a living server can hold
EMPTY: State = {
    "state": "waiting",
    "done": 0,
    "total": 0,
    "seconds_left": None,
    "cells": [],
    "recommended": None,
    "error": "",
    "scores_version": 1,
}


@dataclass(frozen=True)
class ProgressFile:
    """The progress file of one tuner folder. `server` identifies the running server."""

    folder: Path
    server: float

    def read(self) -> State | None:
        """Return its content, or None without a file. A run whose server ended is `stopped`."""
        try:
            values: State = EMPTY | json.loads((self.folder / NAME).read_text("utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        dead = values["state"] in LIVE and values.get("server") != self.server
        return values | ({"state": "stopped"} if dead else {})

    def write(self, state: str, /, **values: Any) -> None:
        """Replace the file atomically. Raises HostError."""
        own = {"server": self.server, "scores_version": VERSION}
        save_text(json.dumps(EMPTY | own | values | {"state": state}, ensure_ascii=False), self.folder / NAME)

    def change(self, state: str, /, **values: Any) -> None:
        """Change some values of the same run."""
        self.write(state, **((self.read() or {}) | {"server": self.server} | values))

    def tell(self, progress: Any) -> None:
        """Write the progress of a running tuner."""
        self.write(
            "running",
            done=progress.done,
            total=progress.total,
            seconds_left=progress.seconds_left,
            cells=cells_of(progress.cells),
        )

    def end(self, state: str, tuned: Any) -> None:
        """Write how a run ended, with all of its cells."""
        chosen = tuned.choice and {"cell": tuned.choice.cell, "reason": tuned.choice.reason}
        cells = cells_of(tuned.done)
        self.change(state, done=len(cells), cells=cells, seconds_left=None, recommended=chosen)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Write the error that ends a run, and raise it again."""
        try:
            yield
        except Exception as error:
            self.change("failed", seconds_left=None, error=" ".join(str(error).split()))
            raise


def cells_of(done: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return finished cells as JSON objects."""
    return [
        {**each.as_json, "encoder": each.encoder, **({"stopped": True} if each.stopped else {})}
        for each in done
    ]
