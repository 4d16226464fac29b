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
class Note:
    """The note of one folder."""

    folder: Path

    def read(self) -> State | None:
        """What it says, None where there is none. A run that died with its server is `stopped`."""
        try:
            said: State = EMPTY | json.loads((self.folder / NAME).read_text("utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        dead = said["state"] in LIVE and said.get("server") != server()
        return said | ({"state": "stopped"} if dead else {})

    def write(self, state: str, /, **said: Any) -> None:
        """Put it in the place of what stood there, whole at any moment. Raises HostError."""
        own = {"server": server(), "scores_version": VERSION}
        save_text(json.dumps(EMPTY | own | said | {"state": state}, ensure_ascii=False), self.folder / NAME)

    def change(self, state: str, /, **said: Any) -> None:
        """Say something else of the same run."""
        self.write(state, **((self.read() or {}) | {"server": server()} | said))

    def tell(self, progress: Any) -> None:
        """A tuner's progress."""
        self.write(
            "running",
            done=progress.done,
            total=progress.total,
            seconds_left=progress.seconds_left,
            cells=cells_of(progress.cells),
        )

    def end(self, state: str, tuned: Any) -> None:
        """How a run ended, with all that it has made."""
        chosen = tuned.choice and {"cell": tuned.choice.cell, "reason": tuned.choice.reason}
        cells = cells_of(tuned.done)
        self.change(state, done=len(cells), cells=cells, seconds_left=None, recommended=chosen)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Note what stops a run, and let it pass."""
        try:
            yield
        except Exception as error:
            self.change("failed", seconds_left=None, error=" ".join(str(error).split()))
            raise


def cells_of(done: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Finished cells in JSON's types."""
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
    """When this WebUI was started: its name among those that wrote notes."""
    return float(shared.state.server_start or 0.0)
