"""Where and in which number format the weights of a unit's networks are kept between uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from lib_ctrlgen.request.spec import Storage

Encoded: TypeAlias = tuple[Tensor, Tensor | None]
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where networks compute and where their weights are between uses; part of the key of the model cache.

    device   the device on which the network computes
    dtype    the dtype in which it computes
    away     whether the weights stay in the CPU's memory between uses (a unit's `low_vram`)
    storage  the number format of the weights between uses; `auto` is `dtype`
    """

    device: torch.device
    dtype: torch.dtype
    away: bool = False
    storage: Storage = "auto"

    @property
    def home(self) -> torch.device:
        """Where the weights are between uses."""
        return CPU if self.away else self.device

    @property
    def resident(self) -> bool:
        """Whether the weights stay on the device, in the dtype in which they compute."""
        return not self.away and self.storage == "auto"

    @property
    def like(self) -> Tensor:
        """An empty tensor with the device and dtype in which the network computes."""
        return torch.empty(0, device=self.device, dtype=self.dtype)


def cast_to(dtype: torch.dtype) -> Callable[[Tensor], Encoded]:
    """The storage format that is a plain cast to another dtype."""
    return lambda weight: (weight.to(dtype), None)


def scaled_fp8(weight: Tensor) -> Encoded:
    """Weights [O, ...] as float8 (e4m3) and a scale for each output channel [O].

    Each channel is scaled so that its largest number is the largest float8: weights are usually about
    0.005, where e4m3 has few values. Micikevicius et al. 2022, FP8 Formats for Deep Learning.
    """
    scale = _scale(weight, torch.finfo(torch.float8_e4m3fn).max)
    return (weight / spread(scale, weight)).to(torch.float8_e4m3fn), scale


def scaled_int8(weight: Tensor) -> Encoded:
    """Weights [O, ...] as int8, symmetric, and a scale for each output channel [O].

    Krishnamoorthi 2018, Quantizing deep convolutional networks for efficient inference.
    """
    scale = _scale(weight, 127.0)
    return (weight / spread(scale, weight)).round().to(torch.int8), scale


def _scale(weight: Tensor, top: float) -> Tensor:
    """The scales [O] by which output channels are divided, so that the largest magnitude of each is `top`.

    The scale of a channel with NaN or infinity is NaN or infinite, too, so that the check of the U-Net's
    prediction finds broken weights.
    """
    peak = weight.flatten(1).abs().amax(1)
    return torch.where(peak == 0, torch.ones_like(peak), peak / top)


def spread(scale: Tensor, weight: Tensor) -> Tensor:
    """Scales [O] reshaped to [O, 1, ...], to multiply weights [O, ...]."""
    return scale.reshape(-1, *(1,) * (weight.ndim - 1))


FORMS: Mapping[Storage, Callable[[Tensor], Encoded]] = MappingProxyType(
    {
        "fp16": cast_to(torch.float16),
        "bf16": cast_to(torch.bfloat16),
        "fp8": scaled_fp8,
        "int8": scaled_int8,
    }
)
