"""The perceiver resampler of IP-Adapter: learned queries that attend to a vision encoder's features.

Alayrac et al. 2022, Flamingo, section 2.1; as in tencent-ailab's IP-Adapter (ip_adapter/resampler.py).
Modules have the names of the published tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib_ctrlgen.unet.attention import attend

from .shapes import HEAD_WIDTH, Tensors, layer_count, rows_of, width_of


class PerceiverAttention(nn.Module):
    """Attention of latents to features and latents, each after a layer norm, without biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD_WIDTH
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """Features [B, N, width] and latents [B, T, width] to the change of the latents."""
        normed = self.norm2(latents)
        seen = torch.cat((self.norm1(features), normed), dim=1)
        keys, values = self.to_kv(seen).chunk(2, dim=-1)
        found: Tensor = self.to_out(attend(self.to_q(normed), keys, values, self.heads))
        return found


class ResamplerLayers(nn.ModuleList):
    """Pairs of perceiver attention and a feed-forward network, each added to the latents."""

    def __init__(self, width: int, heads: int, depth: int, inner: int) -> None:
        super().__init__(
            nn.ModuleList([PerceiverAttention(width, heads), feed_forward(width, inner)])
            for _ in range(depth)
        )

    @classmethod
    def like(cls, tensors: Tensors, width: int) -> ResamplerLayers:
        """As many layers and heads as a file has tensors for. Raises KeyError where one is missing."""
        return cls(
            width,
            heads=rows_of(tensors, "layers.0.0.to_q.weight") // HEAD_WIDTH,
            depth=layer_count(tensors, "layers."),
            inner=rows_of(tensors, "layers.0.1.1.weight"),
        )

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """Features [B, N, width] and latents [B, T, width] to latents [B, T, width]."""
        return self.part(slice(None), features, latents)

    def part(self, layers: slice, features: Tensor, latents: Tensor) -> Tensor:
        """The same with some of the layers."""
        for layer in list(self)[layers]:
            attention, network = layer.children()
            latents = latents + attention(features, latents)
            latents = latents + network(latents)
        return latents


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """Layer norm, then two linear layers without biases with GELU between."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, width, bias=False),
    )


class Resampler(nn.Module):
    """Learned queries that read features into tokens: plus, and portrait-unnorm and InstantID."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width, features = width_of(tensors, "latents"), width_of(tensors, "proj_in.weight")
        out = rows_of(tensors, "proj_out.weight")
        self.latents = nn.Parameter(torch.empty(tensors["latents"].shape))
        self.proj_in = nn.Linear(features, width)
        self.layers = ResamplerLayers.like(tensors, width)
        self.proj_out = nn.Linear(width, out)
        self.norm_out = nn.LayerNorm(out)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to tokens [B, T, X]."""
        latents = self.latents.expand(len(features), -1, -1)
        found: Tensor = self.norm_out(self.proj_out(self.layers(self.proj_in(features), latents)))
        return found


class FaceResampler(nn.Module):
    """The same with the identity's tokens as queries: the second half of FaceID-plus."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width, features = rows_of(tensors, "proj_in.weight"), width_of(tensors, "proj_in.weight")
        out = rows_of(tensors, "proj_out.weight")
        self.proj_in = nn.Linear(features, width)
        self.layers = ResamplerLayers.like(tensors, width)
        self.proj_out = nn.Linear(width, out)
        self.norm_out = nn.LayerNorm(out)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """Queries [B, T, width] and features [B, N, C] to tokens [B, T, X]."""
        found: Tensor = self.norm_out(self.proj_out(self.layers(self.proj_in(features), queries)))
        return found
