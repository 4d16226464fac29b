"""What a U-Net is told of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.blending.formulas import mixed_features


@dataclass(frozen=True)
class Features:
    """Rows of text: the states of all tokens [R, T, X], and with SDXL a summary of each row [R, P]."""

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def map(self, change: Callable[[Tensor], Tensor]) -> Features:
        """Both tensors changed alike."""
        return Features(change(self.states), None if self.pooled is None else change(self.pooled))

    def repeat(self, count: int) -> Features:
        """All rows `count` times, one after the other."""
        return self.map(lambda each: each.repeat(count, *(1,) * (each.ndim - 1)))

    @property
    def length(self) -> int:
        """The number of tokens T."""
        return int(self.states.shape[1])

    def behind(self, more: Tensor) -> Features:
        """The same rows with more states [1, n, X] behind those of each row; the summary stays."""
        return Features(torch.cat([self.states, more.expand(len(self), -1, -1)], 1), self.pooled)

    def stretched(self, length: int) -> Features:
        """One row whose last state is repeated up to `length` tokens."""
        return self.behind(self.states[:, -1:].repeat(1, length - self.length, 1))

    def padded(self, length: int, empty: Features) -> Features:
        """The states of the empty prompt behind each row, up to `length` tokens."""
        return self.behind(empty.states.repeat(1, (length - self.length) // empty.length, 1))

    def tiled(self, length: int) -> Features:
        """All states repeated as a whole up to `length` tokens, a multiple of what they are.

        Attention over keys that all occur equally often is attention over them once.
        """
        return Features(self.states.repeat(1, length // self.length, 1), self.pooled)

    def zeros(self) -> Features:
        """Nothing, in the same shapes."""
        return self.map(torch.zeros_like)

    @staticmethod
    def rows(parts: Sequence[Features]) -> Features:
        """The rows of all parts, one after the other."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Features(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)

    @staticmethod
    def chained(chunks: Sequence[Features]) -> Features:
        """One text from its chunks: their tokens behind each other, and the first one's summary."""
        return Features(torch.cat([chunk.states for chunk in chunks], 1), chunks[0].pooled)

    @staticmethod
    def beside(towers: Sequence[Features]) -> Features:
        """What several towers make of a text: channels beside each other, and the last one's summary."""
        pooled = [each.pooled for each in towers if each.pooled is not None]
        return Features(torch.cat([each.states for each in towers], 2), pooled[-1] if pooled else None)


def mixed_texts(texts: Sequence[Features], empty: Features, weights: Tensor, *, turn: bool) -> Features:
    """One row per row of `weights` [B, K]: K concepts' features, mixed around those of the empty prompt.

    Summaries are mixed along straight lines.
    """
    count = len(weights)
    wide = [each.states.expand(count, -1, -1) for each in texts]
    states = mixed_features(wide, empty.states, weights.to(empty.states), turn=turn)
    if empty.pooled is None:
        return Features(states)
    pooled = [each.pooled.expand(count, -1) for each in texts if each.pooled is not None]
    return Features(states, mixed_features(pooled, empty.pooled, weights.to(empty.pooled), turn=False))
