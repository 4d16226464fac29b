"""Decoupled cross attention: what an IP-Adapter adds before `to_out`.

`out = to_out(softmax(Q K^T / sqrt d) V + w softmax(Q K_ip^T / sqrt d) V_ip)`,
Ye et al. 2023, IP-Adapter, section 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .orthogonal import NEUTRAL, orthogonal
from .residuals import MaskFit
from .row_factors import Factor, times

V_ONLY, K_AND_V, K_AND_MEAN = "V only", "K+V", "K+mean(V) w/ C penalty"
PENALTY_WIDTH = 1280.0
FUSED = ("cpu", "cuda")
MOST_LOGITS = 1 << 26  # 256 MiB in float32


@dataclass(frozen=True)
class KeyValue:
    """Keys and values of one attention layer, [2, T, hidden]: row 0 for uncond, row 1 for cond."""

    keys: Tensor
    values: Tensor

    def to(self, like: Tensor) -> KeyValue:
        """Return the pair on the device and in the dtype of `like`."""
        return KeyValue(self.keys.to(like), self.values.to(like))


@dataclass(frozen=True)
class LayerWeighting:
    """The weight of each cross attention: `slopes[k] * weight + offsets[k] * fade`.

    `weight` is the unit's at a step, and `fade` what a schedule has left of its largest weight, 0..1.
    `scaling` says what that weight multiplies, see `scaled`, and `form` what of the attention is added, see
    `orthogonal`.
    """

    slopes: tuple[float, ...]
    offsets: tuple[float, ...]
    scaling: str = V_ONLY
    form: str = NEUTRAL

    @staticmethod
    def even(layers: int) -> LayerWeighting:
        """Every layer has the unit's weight."""
        return LayerWeighting((1.0,) * layers, (0.0,) * layers)

    @property
    def fades(self) -> bool:
        """Whether a weight depends on `fade`."""
        return any(self.offsets)

    def at(self, weight: float, fade: float) -> tuple[float, ...]:
        """Return the weight of each cross attention."""
        pairs = zip(self.slopes, self.offsets, strict=True)
        return tuple(slope * weight + offset * fade for slope, offset in pairs)


def scaled(pair: KeyValue, weight: Factor, scaling: str) -> KeyValue:
    """Return keys and values [B, T, hidden] with the weight of each row in them (ComfyUI_IPAdapter_plus).

    - `V only`: w V, which is the attention's output times w
    - `K+V`: w K and w V; a small weight makes attention even, too
    - `K+V w/ C penalty`: the same with w * hidden / 1280, weaker in narrow layers
    - `K+mean(V) w/ C penalty`: with that weight, w K, and V with its mean over the tokens multiplied by w
    """
    if scaling == V_ONLY:
        return KeyValue(pair.keys, times(pair.values, weight))
    if scaling != K_AND_V:
        weight = weight * (pair.keys.shape[-1] / PENALTY_WIDTH)
    keys = times(pair.keys, weight)
    if scaling != K_AND_MEAN:
        return KeyValue(keys, times(pair.values, weight))
    mean = pair.values.mean(dim=1, keepdim=True)
    return KeyValue(keys, pair.values - mean + times(mean, weight))


@dataclass(frozen=True)
class AttentionTerm:
    """What one unit adds to one cross attention: keys, values, weight and a soft mask [1 or B, 1, H, W].

    `rows` are the rows of the batch on which it acts, None for all; weight and mask are for these rows.
    """

    pair: KeyValue
    weight: Factor
    mask: Tensor | None = None
    rows: slice | list[int] | None = None
    scaling: str = V_ONLY
    form: str = NEUTRAL
    fit: MaskFit = "area"

    @property
    def acts(self) -> bool:
        """Whether the weight is not zero."""
        return isinstance(self.weight, Tensor) or self.weight != 0.0

    def output(
        self, query: Tensor, kinds: Tensor, heads: int, grid: tuple[int, int], text: Tensor | None = None
    ) -> Tensor:
        """Return `w * attention(q, k, v)`, times the mask, [B, N, hidden].

        query: [B, N, hidden]; kinds: [B] int64, 1 for cond rows and 0 for uncond rows; grid: height and
        width of the latent, which the layer sees at a half, a quarter and so on; text: the attention to the
        text, [B, N, hidden], for forms that read it.
        """
        pair = self.pair.to(query)
        own = scaled(KeyValue(pair.keys[kinds], pair.values[kinds]), self.weight, self.scaling)
        mixed = attend(query, own.keys, own.values, heads)
        if text is not None:
            mixed = orthogonal(mixed, text, query, pair.keys[kinds], heads, self.form)
        if self.mask is not None:
            mixed = mixed * token_mask(self.mask, query.shape[1], grid, self.fit).to(query)
        return mixed


def attend(query: Tensor, keys: Tensor, values: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention: query [B, N, hidden], keys and values [B, T, hidden] -> [B, N, hidden].

    `bias` [1, 1, 1, T] is added to the logits. Where torch has no attention that saves memory, it is computed
    for some queries at a time.
    """
    q, k, v = (split_heads(tensor, heads) for tensor in (query, keys, values))
    most = queries_at_once(q, k)
    parts = [
        functional.scaled_dot_product_attention(q[:, :, first : first + most], k, v, attn_mask=bias)
        for first in range(0, q.shape[2], most)
    ]
    mixed = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return mixed.transpose(1, 2).reshape(query.shape)


def queries_at_once(q: Tensor, k: Tensor) -> int:
    """Return the number of queries of q [B, heads, N, d] for which attention to k [B, heads, T, d] may run.

    It is all of them on devices where torch computes attention without a matrix of all logits.
    """
    if q.device.type in FUSED:
        return int(q.shape[2])
    return max(1, MOST_LOGITS // (q.shape[0] * q.shape[1] * k.shape[2]))


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """Reshape [B, N, heads * d] to [B, heads, N, d]."""
    batch, length, hidden = tensor.shape
    return tensor.view(batch, length, heads, hidden // heads).transpose(1, 2)


def level_size(tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of the U-Net level that has `tokens` tokens for a latent of size `grid`.

    Each level halves the size, rounding up. Raises ValueError when no level has that many tokens.
    """
    height, width = grid
    while height * width > tokens:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != tokens:
        raise ValueError(f"no level of a {grid[0]} x {grid[1]} latent has {tokens} tokens")
    return height, width


def token_mask(mask: Tensor, tokens: int, grid: tuple[int, int], fit: MaskFit = "area") -> Tensor:
    """Resize a soft mask [1 or B, 1, H, W] to a layer's tokens: [1 or B, tokens, 1]."""
    small = functional.interpolate(mask.float(), size=level_size(tokens, grid), mode=fit)
    return small.reshape(-1, tokens, 1)
