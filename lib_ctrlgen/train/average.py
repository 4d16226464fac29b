"""The moving average of the trained weights.

diffusers has one, too, but in 0.31 its module cannot be imported beside the transformers 4.30 of the WebUI.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lib_ctrlgen.train.tiny.loop import Average as WeightAverage


class Average:
    """The exponential moving average of parameters, with a warm start; with decay 0 just the parameters."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._average = WeightAverage(nn.ParameterList(parameters), decay) if decay else None

    def update(self, step: int) -> None:
        """Move the average towards the parameters after step `step`, counted from 0."""
        if self._average is not None:
            self._average.update(step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the parameters; at the exit they are back."""
        if self._average is None:
            yield
            return
        self._average.swap()
        try:
            yield
        finally:
            self._average.swap()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` continues from."""
        return {} if self._average is None else {"average": self._average.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        if self._average is not None:
            with torch.no_grad():
                for own, kept in zip(self._average.shadow, state["average"], strict=True):
                    own.copy_(kept)
