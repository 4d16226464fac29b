"""The optimiser Muon: momentum with orthogonalised updates (Jordan et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .workers import shared

# The polynomial of Muon's reference code: five iterations bring singular values in 0..1 close to 1.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """Approximate the orthogonal factor of each matrix [N, rows, columns] (Newton-Schulz)."""
    tall = matrices.shape[1] > matrices.shape[2]
    flat: Tensor = matrices.transpose(1, 2) if tall else matrices
    flat = flat / (flat.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = flat @ flat.transpose(1, 2)
        flat = A * flat + (B * gram + C * gram @ gram) @ flat
    return flat.transpose(1, 2) if tall else flat


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised and scaled to the root mean square of AdamW's updates (0.2 lr).

    Convolution kernels [out, in, h, w] are treated as matrices [out, in * h * w].
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; parameters of equal shape are processed together."""
        del closure
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    shapes[(len(param), param[0].numel())].append(param)
            for (rows, columns), params in shapes.items():
                push = torch.stack([self._push(p, group["momentum"]).reshape(rows, columns) for p in params])
                updates = shared(orthogonal, push) * (0.2 * max(rows, columns) ** 0.5 * group["lr"])
                for param, update in zip(params, updates, strict=True):
                    param.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.reshape(param.shape))

    def _push(self, param: nn.Parameter, momentum: float) -> Tensor:
        state = self.state[param]
        if not state:
            state["momentum"] = torch.zeros_like(param)
        kept: Tensor = state["momentum"]
        assert param.grad is not None
        kept.lerp_(param.grad, 1 - momentum)
        return torch.lerp(param.grad, kept, momentum)
