"""Loads single-file checkpoints in ldm's and sgm's layout as diffusers and transformers networks.

U-Net and VAE go through diffusers' converters, whose names are the same from 0.31 to 0.42 (decision 0026).
"""

from __future__ import annotations

import re
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
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_ctrlgen.models.loading import fill

from .config import Config
from .kinds import UNET, VAE, Tensors

OPEN_CLIP = (
    ("resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."),
    (".attn.", ".self_attn."),
)
OPEN_CLIP_ENDS = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


def unet_of(
    tensors: Tensors, config: Config, device: torch.device, dtype: torch.dtype, *, sizes: bool = False
) -> Any:
    """The U-Net of a checkpoint; `sizes` for SDXL's. Raises ModelError when it does not fit `config`."""
    arguments = create_unet_diffusers_config_from_ldm(config.raw, tensors)
    if sizes:  # diffusers recognises SDXL only by the width of its text embeddings
        arguments |= {
            "class_embed_type": None,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": config.size_dim,
        }
    converted = convert_ldm_unet_checkpoint(part_of(tensors, UNET), arguments)
    with torch.device("meta"):
        network = UNet2DConditionModel(**arguments)
    fill(network, converted, "the U-Net", device, dtype)
    return network


def vae_of(tensors: Tensors, config: Config, device: torch.device, dtype: torch.dtype) -> Any:
    """The autoencoder of a checkpoint. Raises ModelError when it does not fit `config`."""
    arguments = create_vae_diffusers_config_from_ldm(config.raw, tensors)
    converted = convert_ldm_vae_checkpoint(part_of(tensors, VAE), arguments)
    with torch.device("meta"):
        network = AutoencoderKL(**arguments)
    fill(network, converted, "the autoencoder", device, dtype)
    return network


def text_of(
    tensors: Tensors,
    config: CLIPTextConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    projected: bool = False,
) -> Any:
    """A text encoder from tensors with transformers' names; `projected` adds the text projection.

    transformers 5 has no prefix `text_model.`, and not every version keeps `position_ids`. Raises ModelError
    when the tensors do not fit `config`.
    """
    with torch.device("meta"):
        network: Any = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    places = torch.arange(config.max_position_embeddings, device=device)[None]
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        bare = key.removeprefix("text_model.")
        name = next((name for name in (bare, f"text_model.{bare}") if name in wanted), bare)
        found[name] = value
    found = {key: value for key, value in found.items() if not key.endswith("position_ids")}
    found |= {key: places for key in wanted if key.endswith("position_ids")}
    fill(network, found, "the text encoder", device, dtype)
    for module in network.modules():
        if getattr(module, "position_ids", places).is_meta:  # a buffer that the state dict lacks
            module.position_ids = places
    return network


def from_open_clip(tensors: Tensors, layers: int, *, projected: bool) -> dict[str, Tensor]:
    """Rename an OpenCLIP text encoder's tensors to transformers' names; keep the first `layers` layers.

    OpenCLIP stores query, key and value as one tensor, and its text projection transposed.
    """
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key in OPEN_CLIP_ENDS:
            found[OPEN_CLIP_ENDS[key]] = value
        elif key == "text_projection" and projected:
            found["text_projection.weight"] = value.T.contiguous()
        elif key.startswith("transformer."):
            found |= _open_clip_layer(key.removeprefix("transformer."), value)
    return {key: value for key, value in found.items() if _number(key) < layers}


def _open_clip_layer(key: str, value: Tensor) -> dict[str, Tensor]:
    for theirs, ours in OPEN_CLIP:
        key = key.replace(theirs, ours)
    if ".in_proj_" not in key:
        return {key: value}
    start, leaf = key.split(".in_proj_")
    return {f"{start}.{name}_proj.{leaf}": part for name, part in zip("qkv", value.chunk(3), strict=True)}


def _number(key: str) -> int:
    """The number of the layer that a tensor belongs to; -1 for tensors outside the layers."""
    match = LAYER.match(key)
    return int(match[1]) if match else -1


def part_of(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under their full names."""
    return {key: value for key, value in tensors.items() if key.startswith(prefix)}


def inner_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, with the prefix removed."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def predicts_v(unet: Any) -> bool:
    """Whether an SD2 U-Net predicts v, tested as the WebUI does for a checkpoint without a yaml.

    At the noisiest timestep v is nearly the negative of the image, while epsilon is nearly the input itself.
    """
    like = next(unet.parameters())
    x = torch.full((1, 4, 8, 8), 0.5, device=like.device, dtype=like.dtype)
    context = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        found = unet(x, 999, encoder_hidden_states=context).sample
    return bool((found - x).float().mean() < -1)
