"""A cell that was generated and scored, or that failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.request.spec import ControlRequest

from .cells import Cell
from .scoring.catalogue import by_encoder

SEED = re.compile(r"-seed-(\d+)\.png$")


@dataclass(frozen=True, kw_only=True)
class FinishedCell:
    """A finished cell: its pictures' files, one per seed, their scores, or the error that it ended in.

    A `stopped` one has pictures and scores of fewer steps, and is not compared with the others. `warnings`
    are those of its generation; `encoder` is the CLIP vision encoder that its likeness was measured with.
    """

    cell: Cell
    request: ControlRequest
    files: tuple[str, ...] = ()
    means: Mapping[str, float]
    spreads: Mapping[str, float]
    reasons: Mapping[str, str]
    error: str = ""
    stopped: bool = False
    warnings: tuple[str, ...] = ()
    encoder: str = ""

    @property
    def compared(self) -> Mapping[str, float]:
        """The scores that count for the front and the recommendation."""
        return {} if self.stopped else self.means

    @property
    def as_json(self) -> dict[str, Any]:
        """The result as JSON types, for the table of all cells and the progress file."""
        return {
            "coords": list(self.cell.coords),
            "values": list(self.cell.shown),
            "scores": dict(self.means),
            "sd": dict(self.spreads),
            "reasons": dict(self.reasons),
            "files": list(self.files),
            "warnings": list(self.warnings),
            "error": self.error,
        }

    @property
    def seeds(self) -> list[str]:
        """Each picture's seed, as its file says."""
        return [found[1] if (found := SEED.search(name)) else "" for name in self.files]


def encoders_of(done: Iterable[FinishedCell]) -> tuple[str, ...]:
    """The CLIP vision encoders that scores of these cells were measured with, each once."""
    return tuple(dict.fromkeys(each.encoder for each in done if each.encoder and by_encoder(each.means)))


def failed(cell: Cell, request: ControlRequest, error: str) -> FinishedCell:
    """A cell that ended in an error."""
    return FinishedCell(cell=cell, request=request, means={}, spreads={}, reasons={}, error=error)
