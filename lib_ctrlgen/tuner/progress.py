"""The progress of a tuner's run, and its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .finished_cell import FinishedCell
from .scoring.recommend import Recommendation


@dataclass(frozen=True, kw_only=True)
class TunerResult:
    """The result of a run: the files that it wrote, its cells and its recommendation."""

    report: Path
    sheets: tuple[Path, ...]
    done: tuple[FinishedCell, ...]
    choice: Recommendation | None
    made: int
    recommended: str = ""  # the recommended cell's values, each with its axis' name
    warnings: tuple[str, ...] = ()
    confidence: str = ""  # the confidence in a search's recommendation, in a sentence

    @property
    def failures(self) -> dict[str, int]:
        """The errors of failed cells, each with the number of cells."""
        errors = [each.error for each in self.done if each.error]
        return {error: errors.count(error) for error in dict.fromkeys(errors)}

    @property
    def failure(self) -> str:
        """The error of a run in which every cell failed; empty for other runs."""
        if not self.done or not all(each.error for each in self.done):
            return ""
        reasons = "; ".join(
            f"{error} ({count} of {len(self.done)})" for error, count in self.failures.items()
        )
        return f"every cell failed: {reasons}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many cells are done, including those of earlier runs.

    `seconds_left` is None until the first cell is made.
    """

    done: int
    total: int
    seconds_left: float | None
    cells: Sequence[FinishedCell]

    @property
    def text(self) -> str:
        """The progress and the time left in one line."""
        done = f"{self.done} of {self.total}"
        if self.seconds_left is None or self.done == self.total:
            return done
        minutes, seconds = divmod(round(self.seconds_left), 60)
        left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
        return f"{done}, about {left} left"


Tell = Callable[[Progress], None]
