"""The helpers that k-diffusion's `sampling.py` imports from its own `utils.py`."""

from __future__ import annotations

from torch import Tensor


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """`x` with axes of length 1 behind its own, until it has `target_dims`."""
    return x.reshape(*x.shape, *(1,) * (target_dims - x.ndim))
