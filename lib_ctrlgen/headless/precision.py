"""Sampling in float32 around a U-Net in half precision, as the WebUI samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.unet import Hooks


def in_float32(unet: Any) -> Hooks:
    """Hooks that give a U-Net its own dtype, and the sampler float32; none for a U-Net in float32.

    With zero terminal SNR sigma begins at 4519, where half precision counts in steps of 4 to 16. Enter
    this before any other hook: these then see the call as the U-Net does.
    """
    hooks = Hooks()
    dtype: torch.dtype = unet.dtype
    if dtype == torch.float32:
        return hooks

    def before(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sample, *rest = args
        return (sample.to(dtype), *rest), kwargs

    def after(_module: nn.Module, _args: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sample, *rest = output
        return (sample.float(), *rest)

    hooks.add(unet.register_forward_pre_hook(before, with_kwargs=True))
    hooks.add(unet.register_forward_hook(after))
    return hooks
