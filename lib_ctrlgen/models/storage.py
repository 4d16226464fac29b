"""Where the weights of a unit's networks are between uses, in what form, and where they compute."""

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
    """Networks compute on `device` in `dtype`; `away`: their weights stay in the CPU's memory between uses.

    Equal placements, equal loaded networks.
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
        """Whether they are always as they compute."""
        return not self.away and self.storage == "auto"

    @property
    def like(self) -> Tensor:
        """A tensor that has the device and dtype of computing, and nothing else."""
        return torch.empty(0, device=self.device, dtype=self.dtype)


def cast_to(dtype: torch.dtype) -> Callable[[Tensor], Encoded]:
    """A form that is another dtype alone."""
    return lambda weight: (weight.to(dtype), None)


def scaled_fp8(weight: Tensor) -> Encoded:
    """float8 (e4m3), each output channel stretched over its range.

    Without that, weights of the usual size lie where it has few values. Micikevicius et al. 2022,
    FP8 Formats for Deep Learning.
    """
    scale = _scale(weight, torch.finfo(torch.float8_e4m3fn).max)
    return (weight / spread(scale, weight)).to(torch.float8_e4m3fn), scale


def scaled_int8(weight: Tensor) -> Encoded:
    """Eight bits per number, symmetric, with a scale for each output channel.

    Krishnamoorthi 2018, Quantizing deep convolutional networks for efficient inference.
    """
    scale = _scale(weight, 127.0)
    return (weight / spread(scale, weight)).round().to(torch.int8), scale


def _scale(weight: Tensor, top: float) -> Tensor:
    """What each output channel [O] is divided by for its largest number to become `top`.

    Not finite for a channel that is not: what is broken stays so, and is found in the prediction.
    """
    peak = weight.flatten(1).abs().amax(1)
    return torch.where(peak == 0, torch.ones_like(peak), peak / top)


def spread(scale: Tensor, weight: Tensor) -> Tensor:
    """A scale [O] for weights [O, ...]."""
    return scale.reshape(-1, *(1,) * (weight.ndim - 1))


FORMS: Mapping[Storage, Callable[[Tensor], Encoded]] = MappingProxyType(
    {
        "fp16": cast_to(torch.float16),
        "bf16": cast_to(torch.bfloat16),
        "fp8": scaled_fp8,
        "int8": scaled_int8,
    }
)
