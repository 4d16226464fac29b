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
KEY = re.compile(r"([0-9a-f]{16})-\d+-seed-")


@dataclass(frozen=True, kw_only=True)
class FinishedCell:
    """A cell that was generated and scored, or that failed.

    files     the files of its pictures, one per seed
    error     why it failed; empty if it did not
    stopped   whether the search stopped it early: its pictures and scores are those of fewer steps, and it is
              not compared with other cells
    warnings  the warnings of its generation
    encoder   the CLIP vision encoder with which its likeness was measured
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
        """The scores that count for the Pareto front and the recommendation."""
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
        """The seed of each picture, from the name of its file."""
        return [found[1] if (found := SEED.search(name)) else "" for name in self.files]

    @property
    def rated(self) -> str:
        """The key under which ratings name the cell: that of its pictures. Empty without a picture."""
        found = KEY.search(self.files[0]) if self.files else None
        return found[1] if found else ""


def encoders_of(done: Iterable[FinishedCell]) -> tuple[str, ...]:
    """The CLIP vision encoders with which the likeness of these cells was measured, each once."""
    return tuple(dict.fromkeys(each.encoder for each in done if each.encoder and by_encoder(each.means)))


def failed(cell: Cell, request: ControlRequest, error: str) -> FinishedCell:
    """A cell that failed with this error."""
    return FinishedCell(cell=cell, request=request, means={}, spreads={}, reasons={}, error=error)
