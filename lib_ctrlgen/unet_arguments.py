"""What the hosts' U-Nets are called with: read as `CallInputs`, and with residuals and features put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.calls import CallInputs
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.residuals import Residuals, placewise


def read_ldm(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallInputs:
    """`UNetModel.forward(x, timesteps, context, y)`, as positions or names."""
    given = dict(zip(("x", "timesteps", "context", "y"), args, strict=False)) | dict(kwargs)
    context = given.get("context")
    if not isinstance(context, Tensor):
        raise HostError(
            "the U-Net was called without a text context: controls need a text-conditioned checkpoint"
        )
    added = {} if given.get("y") is None else {"y": given["y"]}
    return CallInputs(x=given["x"], timestep=given["timesteps"], context=context, added=added)


def read_diffusers(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallInputs:
    """`UNet2DConditionModel.forward(sample, timestep, encoder_hidden_states, ...)`."""
    given = dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)) | dict(kwargs)
    x = given["sample"]
    timestep = torch.as_tensor(given["timestep"], device=x.device).reshape(-1).expand(x.shape[0])
    added = given.get("added_cond_kwargs") or {}
    return CallInputs(x=x, timestep=timestep, context=given["encoder_hidden_states"], added=added)


def own_residuals(kwargs: Mapping[str, Any]) -> tuple[Sequence[Tensor] | None, Tensor | None]:
    """The residuals that the host gave, for the skips and the mid block. Raises HostError for one of both."""
    down = kwargs.get("down_block_additional_residuals")
    mid = kwargs.get("mid_block_additional_residual")
    if (down is None) != (mid is None):
        raise HostError(
            "the U-Net was called with residuals for its skips or its mid block, but not for both"
        )
    return down, mid


def with_features(kwargs: Mapping[str, Any], features: Sequence[Tensor]) -> dict[str, Any]:
    """diffusers' keyword arguments with our features added to any that are there.

    The list is a fresh one: diffusers empties it.
    """
    own_residuals(kwargs)  # the old way to give a T2I-Adapter's, which diffusers ignores beside ours
    name = "down_intrablock_additional_residuals"
    return {**kwargs, name: list(placewise([kwargs.get(name) or (), features]))}


def with_residuals(kwargs: Mapping[str, Any], residuals: Residuals) -> dict[str, Any]:
    """diffusers' keyword arguments with our residuals added to any that are there."""
    down, mid = own_residuals(kwargs)
    if down is not None and mid is not None:
        residuals = residuals + Residuals(tuple(down), mid)
    return {
        **kwargs,
        "down_block_additional_residuals": residuals.down,
        "mid_block_additional_residual": residuals.mid,
    }
