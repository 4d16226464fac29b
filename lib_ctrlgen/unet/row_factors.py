"""Numbers that rows of a batch are multiplied with: one for all, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# One number for all rows, or one per row [B], float64.
Factor: TypeAlias = float | Tensor


def factor(numbers: Sequence[float]) -> Factor:
    """The number itself where all rows have the same."""
    same = all(number == numbers[0] for number in numbers)
    return numbers[0] if same else torch.tensor(numbers, dtype=torch.float64)


def times(tensor: Tensor, by: Factor) -> Tensor:
    """Rows of a tensor [B, ...] times their numbers, rounded as a multiplication by a plain number is."""
    if not isinstance(by, Tensor):
        return tensor if by == 1.0 else tensor * by
    wide = torch.promote_types(tensor.dtype, torch.float32)
    factors = by.to(tensor.device, wide).reshape(-1, *[1] * (tensor.ndim - 1))
    return (tensor.to(wide) * factors).to(tensor.dtype)
