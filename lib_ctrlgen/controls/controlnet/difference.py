"""Loads ControlNets that are stored as the difference from the U-Net that they were copied from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.ldm_keys import ldm_names

_SHARED = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")


def added_to_base(tensors: Mapping[str, Tensor], unet: nn.Module | None, name: str) -> dict[str, Tensor]:
    """The weights of the ControlNet under diffusers' names: the U-Net's weights are added to the differences.

    Raises ModelError if there is no U-Net, or one with other shapes.
    """
    base = encoder_weights(_required(unet, name))
    shared = {key: _sum(value, base[key], f"{name}: {key}") for key, value in tensors.items() if key in base}
    if not shared:
        raise ModelError(
            f"'{name}' is stored as the difference from its checkpoint, but shares no tensor name with it"
        )
    return {**tensors, **shared}


def encoder_weights(unet: nn.Module) -> dict[str, Tensor]:
    """The weights of the encoder and the mid block of an ldm or a diffusers U-Net, under diffusers' names."""
    state = unet.state_dict()
    if "input_blocks.0.0.weight" not in state:
        return state
    names = ldm_names(key for key in state if key.startswith(_SHARED))
    return {new: state[old] for old, new in names.items()}


def base_mark(unet: nn.Module | None) -> str:
    """A hash that differs between U-Nets with different weights: of the first numbers of each tensor.

    The tensors may be on different devices, as under the WebUI's --lowvram.
    """
    if unet is None:
        return ""
    some = [value.flatten()[:8].float().cpu() for value in encoder_weights(unet).values()]
    return hashlib.sha256(torch.cat(some).numpy().tobytes()).hexdigest()


def _required(unet: nn.Module | None, name: str) -> nn.Module:
    if unet is None:
        raise ModelError(f"'{name}' is stored as the difference from its checkpoint, and no U-Net is loaded")
    return unet


def _sum(difference: Tensor, base: Tensor, place: str) -> Tensor:
    """The sum in float32. Of the input channels of an inpainting U-Net, only the first ones are used."""
    if difference.ndim == 4 == base.ndim:
        base = base[:, : difference.shape[1]]
    if difference.numel() != base.numel():
        raise ModelError(
            f"'{place}' is a difference of shape {tuple(difference.shape)}, "
            f"the loaded checkpoint has {tuple(base.shape)}: choose the checkpoint it was made for"
        )
    return difference.float() + base.reshape(difference.shape).to(difference.device, torch.float32)
