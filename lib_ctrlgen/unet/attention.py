"""Decoupled cross attention: what an IP-Adapter adds before `to_out`.

`out = to_out(softmax(Q K^T / sqrt d) V + w softmax(Q K_ip^T / sqrt d) V_ip)`,
Ye et al. 2023, IP-Adapter, section 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from .row_factors import Factor, times


@dataclass(frozen=True)
class KeyValue:
    """Keys and values of one attention layer, [2, T, hidden]: row 0 for uncond, row 1 for cond."""

    keys: Tensor
    values: Tensor

    def to(self, like: Tensor) -> KeyValue:
        """The same on the device and in the dtype of `like`."""
        return KeyValue(self.keys.to(like), self.values.to(like))


@dataclass(frozen=True)
class AttentionTerm:
    """One unit's part of one layer: keys, values, weight, and an optional soft mask [1 or B, 1, H, W].

    `rows` are those of the batch that it is for, None for all; the weight and the mask are theirs.
    """

    pair: KeyValue
    weight: Factor
    mask: Tensor | None = None
    rows: slice | list[int] | None = None

    @property
    def acts(self) -> bool:
        """Whether there is anything to add."""
        return isinstance(self.weight, Tensor) or self.weight != 0.0

    def output(self, query: Tensor, kinds: Tensor, heads: int, grid: tuple[int, int]) -> Tensor:
        """`w * attention(q, k, v)`, [B, N, hidden].

        query: [B, N, hidden]; kinds: [B] int64, 1 for cond rows and 0 for uncond rows;
        grid: height and width of the latent, of which the layer sees a power-of-two part.
        """
        pair = self.pair.to(query)
        mixed = attend(query, pair.keys[kinds], times(pair.values[kinds], self.weight), heads)
        if self.mask is not None:
            mixed = mixed * token_mask(self.mask, query.shape[1], grid).to(query)
        return mixed


def attend(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Multi-head attention. query [B, N, hidden], keys and values [B, T, hidden] -> [B, N, hidden]."""
    q, k, v = (split_heads(tensor, heads) for tensor in (query, keys, values))
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).reshape(query.shape)


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """[B, N, heads * d] -> [B, heads, N, d]."""
    batch, length, hidden = tensor.shape
    return tensor.view(batch, length, heads, hidden // heads).transpose(1, 2)


def level_size(tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
    """The height and width of the layer that has this many tokens.

    Each level halves the latent, rounding up. Raises ValueError when no level fits.
    """
    height, width = grid
    while height * width > tokens:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != tokens:
        raise ValueError(f"no level of a {grid[0]} x {grid[1]} latent has {tokens} tokens")
    return height, width


def token_mask(mask: Tensor, tokens: int, grid: tuple[int, int]) -> Tensor:
    """A soft mask [1 or B, 1, H, W] resized by area to the layer's own grid: [1 or B, tokens, 1]."""
    small = functional.interpolate(mask.float(), size=level_size(tokens, grid), mode="area")
    return small.reshape(-1, tokens, 1)
