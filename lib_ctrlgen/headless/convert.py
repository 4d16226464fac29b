"""Single-file checkpoints in ldm's layout as diffusers and transformers networks.

The only place that uses diffusers' converters, whose names are the same from 0.31 to 0.42.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_unet_diffusers_config_from_ldm,
    create_vae_diffusers_config_from_ldm,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lib_ctrlgen.controls.loading import fill
from lib_ctrlgen.errors import ModelError

Tensors = Mapping[str, Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."
PARTS = {UNET: "a U-Net", VAE: "an autoencoder", TEXT: "a CLIP text encoder"}


def unet_of(tensors: Tensors, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    """The U-Net of a checkpoint. Raises ModelError when it does not fit `config`."""
    arguments = create_unet_diffusers_config_from_ldm(config, tensors)
    converted = convert_ldm_unet_checkpoint(dict(_part(tensors, UNET)), arguments)
    with torch.device("meta"):
        network = UNet2DConditionModel(**arguments)
    fill(network, converted, "the U-Net", device, dtype)
    return network


def vae_of(tensors: Tensors, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    """The autoencoder of a checkpoint. Raises ModelError when it does not fit `config`."""
    arguments = create_vae_diffusers_config_from_ldm(config, tensors)
    converted = convert_ldm_vae_checkpoint(dict(_part(tensors, VAE)), arguments)
    with torch.device("meta"):
        network = AutoencoderKL(**arguments)
    fill(network, converted, "the autoencoder", device, dtype)
    return network


def text_of(tensors: Tensors, config: CLIPTextConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """The text tower of a checkpoint. Raises ModelError when it does not fit `config`.

    transformers 5 drops the prefix `text_model.`, and not every version keeps `position_ids`.
    """
    network: Any = CLIPTextModel(config)
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    for key, value in _part(tensors, TEXT):
        bare = key.removeprefix(TEXT).removeprefix("text_model.")
        name = next((name for name in (bare, f"text_model.{bare}") if name in wanted), bare)
        found[name] = value
    found = {key: value for key, value in found.items() if not key.endswith("position_ids")}
    found |= {key: value for key, value in wanted.items() if key.endswith("position_ids")}
    fill(network, found, "the text encoder", device, dtype)
    return network.to(device)


def prefixed_text(tensors: Tensors) -> dict[str, Tensor]:
    """A text tower's tensors of its own as they are named in a checkpoint."""
    return {TEXT + key: value for key, value in tensors.items()}


def _part(tensors: Tensors, prefix: str) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, value in tensors.items() if key.startswith(prefix)]


def require_parts(tensors: Tensors) -> None:
    """Raise ModelError unless the checkpoint is whole and of Stable Diffusion 1's kind."""
    other = next((name for key, name in OTHERS.items() if any(item.startswith(key) for item in tensors)), "")
    if other:
        raise ModelError(f"it is {other}: without the WebUI only SD1.5 is supported yet")
    missing = [name for prefix, name in PARTS.items() if not any(key.startswith(prefix) for key in tensors)]
    if len(missing) == len(PARTS):
        some = ", ".join(sorted(tensors)[:3])
        raise ModelError(f"it is no Stable Diffusion checkpoint; its first keys: {some}")
    if missing:
        raise ModelError(f"it lacks {' and '.join(missing)}: use a whole checkpoint")


OTHERS = {
    "conditioner.embedders.": "an SDXL checkpoint",
    "cond_stage_model.model.": "an SD2 checkpoint",
    "model.diffusion_model.joint_blocks.": "an SD3 checkpoint",
    "model.diffusion_model.double_blocks.": "a Flux checkpoint",
    "double_blocks.": "a Flux network",
}
