"""The projections of IP-Adapters: from a vision encoder's features, or a face's embedding, to tokens.

As in tencent-ailab's IP-Adapter (ip_adapter.py, ip_adapter_faceid.py). Modules have the names of the
published tensors, and sizes are read from them.
"""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from .resampler import FaceResampler, Resampler
from .shapes import Tensors, rows_of, under, width_of

PERCEIVER = "perceiver_resampler."


class PlainHead(nn.Module):
    """`LN(reshape(W e))`: the pooled embedding to a few tokens. Plain, light, ViT-G, SDXL."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        rows, width = rows_of(tensors, "proj.weight"), rows_of(tensors, "norm.weight")
        self.tokens = whole_tokens(rows, width)
        self.proj = nn.Linear(width_of(tensors, "proj.weight"), rows)
        self.norm = nn.LayerNorm(width)

    def forward(self, embeds: Tensor) -> Tensor:
        """Embeddings [B, C] to tokens [B, T, X]."""
        found: Tensor = self.norm(self.proj(embeds).unflatten(-1, (self.tokens, -1)))
        return found


class FullHead(nn.Module):
    """The head of full-face adapters: `LN(W2 GELU(W0 h))` turns each token of the encoder into one token."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        layers = two_layers(tensors)
        self.proj = nn.Sequential(*layers, nn.LayerNorm(rows_of(tensors, "proj.3.weight")))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to tokens [B, N, X]."""
        found: Tensor = self.proj(features)
        return found


class FaceHead(nn.Module):
    """`LN(reshape(W2 GELU(W0 f)))`: a face's embedding to a few tokens. FaceID, Portrait."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width = rows_of(tensors, "norm.weight")
        self.tokens = whole_tokens(rows_of(tensors, "proj.2.weight"), width)
        self.proj = nn.Sequential(*two_layers(tensors))
        self.norm = nn.LayerNorm(width)

    def forward(self, face: Tensor) -> Tensor:
        """Embeddings [B, 512] to tokens [B, T, X]."""
        found: Tensor = self.norm(self.proj(face).unflatten(-1, (self.tokens, -1)))
        return found


class FacePlusHead(FaceHead):
    """FaceID's tokens as queries to the CLIP features of the aligned face. FaceID-plus v1 and v2."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__(tensors)
        self.perceiver_resampler = FaceResampler(under(tensors, PERCEIVER))

    def forward(self, face: Tensor, features: Tensor | None = None, shortcut: float | None = None) -> Tensor:
        """Embeddings [B, 512] and features [B, N, C] to tokens [B, T, X].

        Without `shortcut` the resampler's result (v1), with it the identity's tokens plus `shortcut` times
        that result (v2).
        """
        if features is None:
            raise TypeError("FaceID-plus needs the CLIP features of the face")
        tokens = super().forward(face)
        seen: Tensor = self.perceiver_resampler(tokens, features)
        return seen if shortcut is None else tokens + shortcut * seen


Head: TypeAlias = PlainHead | FullHead | FaceHead | FacePlusHead | Resampler


def head_of(tensors: Tensors) -> Head:
    """The head of a file, on the meta device where that is the default; `tensors` are its `image_proj.*`.

    Raises KeyError, IndexError or ValueError where a tensor is missing or of an impossible shape.
    """
    if "proj.weight" in tensors:
        return PlainHead(tensors)
    if "proj.3.weight" in tensors:
        return FullHead(tensors)
    if f"{PERCEIVER}proj_in.weight" in tensors:
        return FacePlusHead(tensors)
    if "latents" in tensors:
        return Resampler(tensors)
    return FaceHead(tensors)


def two_layers(tensors: Tensors) -> list[nn.Module]:
    """The linear layers `proj.0` and `proj.2` with GELU between."""
    inner, out = rows_of(tensors, "proj.0.weight"), rows_of(tensors, "proj.2.weight")
    return [nn.Linear(width_of(tensors, "proj.0.weight"), inner), nn.GELU(), nn.Linear(inner, out)]


def whole_tokens(rows: int, width: int) -> int:
    """How many tokens of `width` channels `rows` channels are. Raises ValueError where that is no number."""
    if width < 1 or rows < 1 or rows % width:
        raise ValueError(f"{rows} channels are no tokens of {width} channels each")
    return rows // width
