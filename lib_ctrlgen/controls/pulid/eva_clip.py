"""EVA02-CLIP-L-14-336, the vision encoder of PuLID.

Sun et al. 2023, EVA-CLIP: Improved Training Techniques for CLIP at Scale; for the rotary embedding Su et al.
2021, RoFormer. Modules have the names of the published tensors; sizes are read from them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.ip_adapter.shapes import HEAD_WIDTH, Tensors, layer_count, rows_of, width_of
from lib_ctrlgen.unet.attention import split_heads

EPS = 1e-6
TRAINED_SIDE = 16  # patches of the pictures on which the rotary embedding was trained
THETA = 10000.0
SHOWN = range(4, 21, 4)  # the blocks before which the hidden state is a feature map


class EvaAttention(nn.Module):
    """Self attention with rotary positions of the patches, and a layer norm before the last projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_bias, self.v_bias = (nn.Parameter(torch.empty(width)) for _ in range(2))
        self.inner_attn_ln = nn.LayerNorm(width, EPS)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Tokens [B, 1 + P, width], the class token first, and angles [P, head width]."""
        q, k, v = (
            split_heads(projected, self.heads)
            for projected in (self.q_proj(x) + self.q_bias, self.k_proj(x), self.v_proj(x) + self.v_bias)
        )
        mixed = functional.scaled_dot_product_attention(turned(q, angles), turned(k, angles), v)
        found: Tensor = self.proj(self.inner_attn_ln(mixed.transpose(1, 2).flatten(2)))
        return found


class SwiGLU(nn.Module):
    """A feed-forward network with a gate (Shazeer 2020) and a layer norm before the last layer."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, inner), nn.Linear(width, inner)
        self.ffn_ln = nn.LayerNorm(inner, EPS)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        found: Tensor = self.w3(self.ffn_ln(functional.silu(self.w1(x)) * self.w2(x)))
        return found


class EvaBlock(nn.Module):
    """Attention and a feed-forward network, each on normalised tokens and added to them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, EPS), EvaAttention(width)
        self.norm2, self.mlp = nn.LayerNorm(width, EPS), SwiGLU(width, inner)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Tokens [B, 1 + P, width] to the same."""
        x = x + self.attn(self.norm1(x), angles)
        found: Tensor = x + self.mlp(self.norm2(x))
        return found


class EvaTower(nn.Module):
    """The vision encoder."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width, patch = (
            rows_of(tensors, "patch_embed.proj.weight"),
            width_of(tensors, "patch_embed.proj.weight"),
        )
        inner = rows_of(tensors, "blocks.0.mlp.w1.weight")
        self.patch = patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(tensors["pos_embed"].shape))
        blocks = layer_count(tensors, "blocks.")
        self.blocks = nn.ModuleList(EvaBlock(width, inner) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width, rows_of(tensors, "head.weight"))

    @property
    def size(self) -> int:
        """The side of the square input in pixels."""
        return self.patch * self.side

    @property
    def side(self) -> int:
        """The number of patches along a side."""
        return int((self.pos_embed.shape[1] - 1) ** 0.5)

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """A normalised picture [B, 3, S, S] to an embedding [B, C] and feature maps [B, 1 + P, width]."""
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        angles, maps = rotary_angles(self.side).to(x), []
        for number, block in enumerate(self.blocks):
            if number in SHOWN:
                maps.append(x)
            x = block(x, angles)
        return self.head(self.norm(x[:, 0])), maps


def rotary_angles(side: int) -> Tensor:
    """The angles [P, 64] of the patches of a square: for each head, first by row, then by column."""
    half = HEAD_WIDTH // 2
    speed = THETA ** -(torch.arange(0, half, 2, dtype=torch.float32) / half)
    place = torch.arange(side, dtype=torch.float32) / side * TRAINED_SIDE
    line = torch.outer(place, speed).repeat_interleave(2, dim=1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Queries or keys [B, heads, 1 + P, 64] with pairs of channels turned, except the class token's."""
    patches = x[:, :, 1:]
    pairs = patches.reshape(*patches.shape[:-1], -1, 2)
    across = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return torch.cat((x[:, :, :1], patches * angles.cos() + across * angles.sin()), dim=2)
