"""What a training has found so far, beside the weights: it goes along in the checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .validation import Measured

RECENT = 20  # steps whose losses are averaged


@dataclass
class Progress:
    """The loss of each step, the validations, the seconds of training, and the best weights by step."""

    losses: list[float] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    seconds: float = 0.0
    best_step: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The mean loss of the last steps."""
        recent = self.losses[-RECENT:]
        return sum(recent) / len(recent) if recent else None

    def seconds_left(self, steps: int) -> float | None:
        """An estimate for the rest of `steps`."""
        done = len(self.losses)
        return self.seconds / done * (steps - done) if done else None

    def state_dict(self) -> dict[str, Any]:
        """What `of` reads."""
        return {
            "losses": self.losses,
            "measured": [each.asdict() for each in self.measured],
            "seconds": self.seconds,
            "best_step": self.best_step,
            "best": self.best,
        }

    @staticmethod
    def of(state: dict[str, Any]) -> Progress:
        """The progress in a checkpoint."""
        measured = [Measured.of(each) for each in state["measured"]]
        return Progress(state["losses"], measured, state["seconds"], state["best_step"], state["best"])
