"""Text features: the outputs of the text encoders that the U-Net reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.blending.formulas import mixed_features


@dataclass(frozen=True)
class Features:
    """Rows of encoded text: token states [R, T, X] and, for SDXL, pooled embeddings [R, P]."""

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def map(self, change: Callable[[Tensor], Tensor]) -> Features:
        """Both tensors with `change` applied."""
        return Features(change(self.states), None if self.pooled is None else change(self.pooled))

    def repeat(self, count: int) -> Features:
        """All rows `count` times, one after the other."""
        return self.map(lambda each: each.repeat(count, *(1,) * (each.ndim - 1)))

    @property
    def length(self) -> int:
        """The number of tokens T."""
        return int(self.states.shape[1])

    def behind(self, more: Tensor) -> Features:
        """The same rows with the states `more` [1, n, X] appended to each; the pooled embeddings are kept."""
        return Features(torch.cat([self.states, more.expand(len(self), -1, -1)], 1), self.pooled)

    def stretched(self, length: int) -> Features:
        """One row, extended to `length` tokens by repeating its last state."""
        return self.behind(self.states[:, -1:].repeat(1, length - self.length, 1))

    def padded(self, length: int, empty: Features) -> Features:
        """Each row, extended to `length` tokens with the states of the empty prompt."""
        return self.behind(empty.states.repeat(1, (length - self.length) // empty.length, 1))

    def tiled(self, length: int) -> Features:
        """Each row's states repeated as a whole up to `length` tokens, a multiple of the present number.

        Attention over keys that all occur equally often equals attention over each of them once.
        """
        return Features(self.states.repeat(1, length // self.length, 1), self.pooled)

    def zeros(self) -> Features:
        """Zeros in the same shapes."""
        return self.map(torch.zeros_like)

    @staticmethod
    def rows(parts: Sequence[Features]) -> Features:
        """The rows of all parts, concatenated."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Features(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)

    @staticmethod
    def chained(chunks: Sequence[Features]) -> Features:
        """One text from its chunks: token states concatenated, the pooled embedding of the first chunk."""
        return Features(torch.cat([chunk.states for chunk in chunks], 1), chunks[0].pooled)

    @staticmethod
    def beside(text_encoders: Sequence[Features]) -> Features:
        """One text from several encoders: channels concatenated, the pooled embedding of the last encoder."""
        pooled = [each.pooled for each in text_encoders if each.pooled is not None]
        return Features(torch.cat([each.states for each in text_encoders], 2), pooled[-1] if pooled else None)


def mixed_texts(texts: Sequence[Features], empty: Features, weights: Tensor, *, spherical: bool) -> Features:
    """Mix the features of K concepts by `weights` [B, K], one row for each, relative to the empty prompt's.

    With `spherical` the token states are mixed with slerp, else linearly; pooled embeddings always linearly.
    """
    count = len(weights)
    wide = [each.states.expand(count, -1, -1) for each in texts]
    states = mixed_features(wide, empty.states, weights.to(empty.states), spherical=spherical)
    if empty.pooled is None:
        return Features(states)
    pooled = [each.pooled.expand(count, -1) for each in texts if each.pooled is not None]
    return Features(states, mixed_features(pooled, empty.pooled, weights.to(empty.pooled), spherical=False))
