"""Loads an exported model into the training networks, so that training can continue from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file
from torch import Tensor, nn

from lib_ctrlgen.controls.controlnet.file import diffusers_tensors

from .clip import ClipNetworks
from .export import NAME
from .together import JointNetworks

Weights = Mapping[str, Tensor]


def read_base(folder: Path, towers: ClipNetworks, vae: Any, unet: Any) -> None:
    """Load text and vision encoder, autoencoder and U-Net of an export."""
    tensors = floats(folder / f"{NAME}.safetensors")
    fill(unet, convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config)))
    fill(vae, convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)))
    prefix = "cond_stage_model.transformer."
    fill(towers.text, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    vision = folder / f"clip_vision/{NAME}-vision"
    fill(towers.vision, floats(vision / "model.safetensors"))
    projection = floats(vision / "text_projection.safetensors")
    with torch.no_grad():
        towers.text_projection.weight.copy_(projection["text_projection.weight"])
        towers.logit_scale.copy_(projection["logit_scale"])


def read_controls(folder: Path, whole: JointNetworks) -> None:
    """Load the ControlNets and the IP-Adapter of an export."""
    control: Any
    for name, control in whole.controls.items():
        tensors = floats(folder / f"ControlNet/{NAME}-{name}.safetensors")
        fill(control, diffusers_tensors(tensors))
    adapter = floats(folder / f"ControlNet/{NAME}-ip.safetensors")
    named = {key: value for key, value in whole.adapter.flat().items() if key.startswith("ip_adapter.")}
    with torch.no_grad():
        for key, value in named.items():
            value.copy_(adapter[key])
    fill(whole.adapter.image_proj, {k.removeprefix("image_proj."): v for k, v in adapter.items()})


def floats(path: Path) -> dict[str, Tensor]:
    """The tensors of a file as float32."""
    return {key: value.float() for key, value in load_file(path).items()}


def fill(module: nn.Module, weights: Weights) -> None:
    """Copy weights by name; the prefix `text_model.` exists in transformers 4 only.

    Raises KeyError for a weight that is missing.
    """
    bare = {_bare(key): value for key, value in weights.items()}
    with torch.no_grad():
        for key, value in module.state_dict().items():
            name = _bare(key)
            if not name.endswith("position_ids"):
                value.copy_(bare[name].reshape(value.shape))


def _bare(key: str) -> str:
    return key.removeprefix("text_model.").removeprefix("vision_model.")
