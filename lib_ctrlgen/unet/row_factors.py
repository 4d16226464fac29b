"""Factors for the rows of a batch: one number for all rows, or one for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# One number for all rows, or one per row [B], float64.
Factor: TypeAlias = float | Tensor


def factor(numbers: Sequence[float]) -> Factor:
    """Return one number if all rows have the same, else a float64 tensor [B]."""
    same = all(number == numbers[0] for number in numbers)
    return numbers[0] if same else torch.tensor(numbers, dtype=torch.float64)


def times(tensor: Tensor, by: Factor) -> Tensor:
    """Multiply the rows of a tensor [B, ...] by their factors, rounding as for a Python number."""
    if not isinstance(by, Tensor):
        return tensor if by == 1.0 else tensor * by
    wide = torch.promote_types(tensor.dtype, torch.float32)
    factors = by.to(tensor.device, wide).reshape(-1, *[1] * (tensor.ndim - 1))
    return (tensor.to(wide) * factors).to(tensor.dtype)
