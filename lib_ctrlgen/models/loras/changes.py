"""What a LoRA adds to the output of one layer, computed from the layer's input.

A layer is linear in its weight, so that W + m dW gives W x + m (dW x). A LoRA's dW is a product of two small
matrices, whose factors are applied to x one after the other; other kinds compute dW once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import ModelError

from .formulas import Pieces, bias_change, padded, require_known, scale_of, weight_change

Layer: TypeAlias = "nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm"


class LayerChange(Protocol):
    """The change of a layer's output."""

    def of(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The change at strength 1 for the layer's input `x`, in the shape of the layer's output."""

    def to(self, device: torch.device, dtype: torch.dtype) -> LayerChange:
        """The same with its tensors on a device, in a dtype."""


@dataclass(frozen=True, eq=False)
class LowRankChange:
    """`up(mid(down(x)))`, the scale being part of `up`.

    Of a linear layer: down [rank, in], up [out, rank]. Of a convolution: kernels; the one with the layer's
    kernel size (`mid`, or `down` without it) has the layer's stride and padding.
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None = None

    def of(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The change at strength 1."""
        down, up = self.down.to(x), self.up.to(x)
        if not isinstance(layer, nn.Conv2d):
            return functional.linear(functional.linear(x, down), up)
        if self.mid is None:
            return functional.conv2d(convolved(layer, x, down), up)
        return functional.conv2d(convolved(layer, functional.conv2d(x, down), self.mid.to(x)), up)

    def to(self, device: torch.device, dtype: torch.dtype) -> LowRankChange:
        """The same with its tensors on a device, in a dtype."""
        mid = None if self.mid is None else self.mid.to(device, dtype)
        return LowRankChange(self.down.to(device, dtype), self.up.to(device, dtype), mid)


@dataclass(frozen=True, eq=False)
class WholeChange:
    """The layer with the changes of its weight and bias in their places."""

    weight: Tensor
    bias: Tensor | None = None

    def of(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The change at strength 1."""
        weight, bias = self.weight.to(x), None if self.bias is None else self.bias.to(x)
        if isinstance(layer, nn.Conv2d):
            return convolved(layer, x, weight, bias)
        if isinstance(layer, nn.GroupNorm):
            return functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
        if isinstance(layer, nn.LayerNorm):
            return functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
        return functional.linear(x, weight, bias)

    def to(self, device: torch.device, dtype: torch.dtype) -> WholeChange:
        """The same with its tensors on a device, in a dtype."""
        bias = None if self.bias is None else self.bias.to(device, dtype)
        return WholeChange(self.weight.to(device, dtype), bias)


def convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x [B, in, h, w] with another kernel, with a layer's stride, padding and dilation."""
    return functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation)


def change_of(pieces: Pieces, layer: nn.Module, weight: Tensor, dyn: int | None) -> LayerChange:
    """The change of a layer with this weight from its tensors in a file, in float32.

    `dyn` is the number of ranks that are used, from the first; None: all. Raises ModelError where the tensors
    do not fit the layer.
    """
    kind = require_known(pieces)
    if (kind == "norm") != isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
        raise ModelError(f"a {kind} change does not fit a {type(layer).__name__}")
    pieces = {name: tensor.to(weight.device) for name, tensor in pieces.items()}
    if dyn is not None and kind == "LoRA" and "lora_mid.weight" not in pieces:
        pieces = truncated(pieces, dyn)
    if kind == "LoRA" and not pieces.keys() & {"dora_scale", "bias"}:
        return low_rank(pieces, weight)
    return WholeChange(weight_change(pieces, weight), bias_change(pieces))


def truncated(pieces: Pieces, ranks: int) -> Pieces:
    """A LoRA's tensors with its first `ranks` ranks; alpha is divided by the number of all, as before."""
    up, down = pieces["lora_up.weight"], pieces["lora_down.weight"]
    scale = torch.tensor(scale_of(pieces))
    return {**pieces, "lora_up.weight": up[:, :ranks], "lora_down.weight": down[:ranks], "scale": scale}


def low_rank(pieces: Pieces, weight: Tensor) -> LowRankChange:
    """The factors of a LoRA in the shapes that a layer with this weight needs. Raises ModelError."""
    up, down, mid = (pieces.get(f"lora_{name}.weight") for name in ("up", "down", "mid"))
    if up is None or down is None:
        raise ModelError("a LoRA needs lora_up and lora_down")
    up = up.float().reshape(len(up), -1) * scale_of(pieces)
    down, mid = down.float(), None if mid is None else mid.float()
    if weight.ndim == 2:
        down = down.reshape(len(down), -1)
        fits = (down.shape[1], len(up), up.shape[1]) == (weight.shape[1], weight.shape[0], len(down))
    else:
        down = down if down.ndim == 4 else down[:, :, None, None]
        down, kernel = padded(down, weight), (down if mid is None else mid)
        inner = len(down) if mid is None else mid.shape[0]
        fits = (down.shape[1], len(up), up.shape[1]) == (weight.shape[1], weight.shape[0], inner)
        fits = fits and kernel.shape[2:] == weight.shape[2:] and (mid is None or mid.shape[1] == len(down))
        up = up[:, :, None, None]
    if not fits:
        raise ModelError(
            f"lora_down is {tuple(down.shape)} and lora_up {tuple(up.shape)}, the layer's weight "
            f"{tuple(weight.shape)}"
        )
    return LowRankChange(down.contiguous(), up.contiguous(), mid)
