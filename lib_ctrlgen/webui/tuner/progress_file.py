"""How far a run of the tuner is, in `progress.json` of its folder: what the job route answers from.

The file names the server that wrote it: a run that died with its WebUI is not taken for a running one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from modules import shared

from lib_ctrlgen.files import save_text
from lib_ctrlgen.tuner.scoring.catalogue import VERSION

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
    """The progress file of one tuner folder."""

    folder: Path

    def read(self) -> State | None:
        """Return its content, or None without a file. A run whose server ended is `stopped`."""
        try:
            values: State = EMPTY | json.loads((self.folder / NAME).read_text("utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        dead = values["state"] in LIVE and values.get("server") != server()
        return values | ({"state": "stopped"} if dead else {})

    def write(self, state: str, /, **values: Any) -> None:
        """Replace the file atomically. Raises HostError."""
        own = {"server": server(), "scores_version": VERSION}
        save_text(json.dumps(EMPTY | own | values | {"state": state}, ensure_ascii=False), self.folder / NAME)

    def change(self, state: str, /, **values: Any) -> None:
        """Change some values of the same run."""
        self.write(state, **((self.read() or {}) | {"server": server()} | values))

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
        {
            "coords": list(each.cell.coords),
            "values": list(each.cell.shown),
            "scores": dict(each.means),
            "sd": dict(each.spreads),
            "reasons": dict(each.reasons),
            "files": list(each.files),
            "warnings": list(each.warnings),
            "encoder": each.encoder,
            "error": each.error,
        }
        for each in done
    ]


def server() -> float:
    """The start time of this WebUI, which identifies it in progress files."""
    return float(shared.state.server_start or 0.0)
