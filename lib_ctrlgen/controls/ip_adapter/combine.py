"""Combines the features of several references, before the projection to tokens (ComfyUI_IPAdapter_plus)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import lcm
from typing import TypeAlias

import torch
from torch import Tensor

from lib_ctrlgen.request.reference import Combine

# What a projection reads of one reference: the tensors that are its arguments, each [1, ...].
Features: TypeAlias = tuple[Tensor, ...]


def combined(features: Sequence[Features], weights: Sequence[float], method: Combine) -> list[Features]:
    """The features of one or more references, each times its weight, as those of one reference.

    `concat` leaves them apart: the tokens of each then stand side by side. The others compute in float32, as
    squares of half precision would be lost. The features of all have the same
    number of tensors, of the same shapes.
    """
    weighted = [
        tuple(tensor if weight == 1.0 else tensor * weight for tensor in each)
        for each, weight in zip(features, weights, strict=True)
    ]
    if method == "concat":
        return weighted
    return [tuple(_METHODS[method](torch.stack(each).float()) for each in zip(*weighted, strict=True))]


def _subtracted(stacked: Tensor) -> Tensor:
    return stacked[0] - stacked[1:].mean(0) if len(stacked) > 1 else stacked[0]


def _norm_averaged(stacked: Tensor) -> Tensor:
    """The mean of `e_i / sqrt(sum_k e_k^2)`, number by number; 0 where all are 0."""
    norm = stacked.square().sum(0).sqrt()
    return (stacked / torch.where(norm == 0, 1.0, norm)).mean(0)


_METHODS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "add": lambda stacked: stacked.sum(0),
    "subtract": _subtracted,
    "average": lambda stacked: stacked.mean(0),
    "norm_average": _norm_averaged,
    "max": lambda stacked: stacked.amax(0),
    "min": lambda stacked: stacked.amin(0),
}


def even(tokens: Sequence[Tensor]) -> list[Tensor]:
    """Tokens [1, T_i, X] repeated as wholes to one number of tokens, which changes no attention over them."""
    length = lcm(*(each.shape[1] for each in tokens))
    return [each.repeat(1, length // each.shape[1], 1) for each in tokens]
