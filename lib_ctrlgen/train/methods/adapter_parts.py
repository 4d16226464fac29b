"""What is trained of an IP-Adapter: its image tokens, a low-rank change of its keys and values, or all of it.

The changes are parametrisations of torch, so the adapter's weights are at any time those of an ordinary
adapter, and the exported file has exactly the weights of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lib_ctrlgen.controls.ip_adapter.heads import PlainHead
from lib_ctrlgen.controls.ip_adapter.resampler import Resampler
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.training import AdapterPart, TrainingSpec

from .adapter_network import AdapterNetwork

RIDGE = 1e-3  # of the features' mean square


class LowRank(nn.Module):
    """`W + scale * up down`: Hu et al. 2021, LoRA. `up` is zero at first, so nothing is changed."""

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        first = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.down = nn.Parameter(first.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight [rows, columns]."""
        return weight + self.scale * (self.up @ self.down)


class SubjectTokens(nn.Module):
    """Adds learned image tokens for pictures of the subject: the weight `W` becomes `W + tokens direction^T`.

    `tokens` [T * X] is what is trained: T tokens of X channels. `direction` [C] is a fixed linear function
    of a picture's embedding, which is about 1 for pictures of the subject and about 0 for others; it is
    exactly 0 for no picture, whose embedding is zero. The head normalises each token after the addition.
    """

    direction: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.tokens = nn.Parameter(torch.zeros(rows, device=weight.device))
        self.register_buffer("direction", torch.zeros(columns, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight [rows, columns]."""
        return weight + self.tokens[:, None] * self.direction

    def learn(self, subject: Tensor, others: Tensor | None) -> None:
        """Find the direction from embeddings [N, C] of the subject and of other pictures [M, C]."""
        self.direction.copy_(telling_direction(subject, others))


def telling_direction(subject: Tensor, others: Tensor | None) -> Tensor:
    """The direction [C] whose product is 1 with the subject's embeddings and 0 with others.

    It is found by ridge regression. Both sides count alike, however many embeddings [N, C] they have.
    """
    moments = _moments(subject) + (0 if others is None else _moments(others))
    ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(moments), device=moments.device)
    found: Tensor = torch.linalg.solve(moments + ridge, subject.float().mean(0))
    return found


def _moments(rows: Tensor) -> Tensor:
    return rows.float().T @ rows.float() / len(rows)


def train_tokens(adapter: AdapterNetwork, _spec: TrainingSpec) -> nn.Module:
    """Train the image tokens alone: `SubjectTokens` of a plain head, the queries of a resampler.

    Raises RequestError at `$.part` for a head without tokens of its own.
    """
    head = adapter.head
    if isinstance(head, PlainHead):
        tokens = SubjectTokens(head.proj.weight)
        parametrize.register_parametrization(head.proj, "weight", tokens)
        return tokens
    if isinstance(head, Resampler):
        head.latents.requires_grad = True
        return nn.ParameterDict({"latents": head.latents})
    raise RequestError("$.part", "this adapter has no tokens of its own to train: take low-rank or whole")


def train_low_rank(adapter: AdapterNetwork, spec: TrainingSpec) -> nn.Module:
    """Train a change of rank `spec.rank` of each layer's keys and values; the head stays as it is."""
    generator = torch.Generator().manual_seed(spec.seed)
    scale = (spec.alpha or spec.rank) / spec.rank
    changes = nn.ModuleDict()
    for name, linear in adapter.linears.items():
        rank = min(spec.rank, *linear.weight.shape)
        change = LowRank(linear.weight, rank, scale, generator)
        parametrize.register_parametrization(linear, "weight", change)
        changes[name.replace(".", "-")] = change
    return changes


def train_whole(adapter: AdapterNetwork, _spec: TrainingSpec) -> nn.Module:
    """Train every weight: the head (of a plus adapter, its resampler), keys and values."""
    return adapter.requires_grad_(requires_grad=True)


PARTS: Mapping[AdapterPart, Callable[[AdapterNetwork, TrainingSpec], nn.Module]] = MappingProxyType(
    {"tokens": train_tokens, "low-rank": train_low_rank, "whole": train_whole}
)
WORDS: Mapping[AdapterPart, str] = MappingProxyType(
    {
        "tokens": "the image tokens alone",
        "low-rank": "a change of rank {rank} of its keys and values",
        "whole": "all its weights",
    }
)
