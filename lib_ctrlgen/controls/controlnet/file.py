"""Builds diffusers' `ControlNetModel` from a file; the configuration is read from the shapes of its tensors.

Zhang, Rao and Agrawala 2023, Adding Conditional Control to Text-to-Image Diffusion Models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target, own_name
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, strip_prefix
from lib_ctrlgen.models.ldm_keys import ldm_names
from lib_ctrlgen.models.loading import fill, map_channels
from lib_ctrlgen.models.offload import placed
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.unet.call import UNetShape

from .difference import added_to_base

Tensors = Mapping[str, Tensor]


def control_tensors(path: Path, target: Target, kind: ModelKind) -> dict[str, Tensor]:
    """A file's tensors under diffusers' names; the U-Net's weights are added to a difference.

    Raises ModelError.
    """
    tensors = diffusers_tensors(read_tensors(path))
    if kind.variant != "difference":
        return tensors
    tensors.pop("difference", None)
    return added_to_base(tensors, target.unet, path.stem)


def load_parts(tensors: Tensors, path: Path, target: Target) -> dict[str, Any]:
    """The fields of a `ControlNetwork`, with the network in evaluation mode.

    The number of attention heads comes from the U-Net's shape, everything else from the tensors.
    Raises ModelError if the file is broken or does not fit the U-Net.
    """
    try:
        require_channels(tensors, target.shape)
        with torch.device("meta"):
            network: Any = ControlNetModel(**configuration(tensors, target.shape))
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"'{path.stem}' is an incomplete ControlNet: {error}") from error
    named = {re.sub(r"^add_embedding\.", "class_embedding.", key): value for key, value in tensors.items()}
    placement = target.placement
    fill(network, named, path.stem, placement.home, placement.dtype)
    hint_encoder, network.controlnet_cond_embedding = network.controlnet_cond_embedding, nn.Identity()
    vector_embedding, network.class_embedding = network.class_embedding, nn.Identity()
    return {
        "network": network,
        "hint_encoder": hint_encoder,
        "vector_embedding": vector_embedding,
        "pooled": pools(path),
        "weights": placed([network, vector_embedding], placement, path.stem),
        "hint_weights": placed([hint_encoder], placement, path.stem),
        "origin": (*stamp(path), placement.storage),
    }


def diffusers_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """The control's tensors under diffusers' names, from ldm's or diffusers' layout."""
    prefix = strip_prefix(tensors)
    bare = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if "controlnet_cond_embedding.conv_in.weight" in bare:
        return bare
    names = ldm_names(bare)
    return {names[key]: value for key, value in bare.items()}


def configuration(tensors: Tensors, shape: UNetShape) -> dict[str, Any]:
    """The arguments of `ControlNetModel`, from the tensors. Raises KeyError, IndexError, ModelError."""
    blocks = range(_count(tensors, r"down_blocks\.(\d+)\."))
    depths = [
        _count(tensors, rf"down_blocks\.{i}\.attentions\.0\.transformer_blocks\.(\d+)\.") for i in blocks
    ]
    middle = _count(tensors, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\.")
    layers = _count(tensors, r"down_blocks\.0\.resnets\.(\d+)\.")
    widths = tuple(tensors[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in blocks)
    vector = tensors.get("add_embedding.linear_1.weight")
    return {
        "in_channels": tensors["conv_in.weight"].shape[1],
        "conditioning_channels": map_channels(
            tensors["controlnet_cond_embedding.conv_in.weight"], "ControlNet"
        ),
        "conditioning_embedding_out_channels": _hint_channels(tensors),
        "block_out_channels": widths,
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "layers_per_block": layers,
        "transformer_layers_per_block": tuple(depth or 1 for depth in (*depths[:-1], depths[-1] or middle)),
        "attention_head_dim": _heads(shape, widths),
        "cross_attention_dim": shape.family.context_dim,
        "use_linear_projection": _linear_projection(tensors),
        "class_embed_type": None if vector is None else "projection",
        "projection_class_embeddings_input_dim": None if vector is None else vector.shape[1],
    }


def _heads(shape: UNetShape, widths: tuple[int, ...]) -> tuple[int, ...]:
    """The heads of each level: the number that the U-Net's attentions of the same width have."""
    heads = dict(zip(shape.attention_hidden, shape.heads, strict=True))
    return tuple(heads.get(width, shape.heads[-1]) for width in widths)


def _hint_channels(tensors: Tensors) -> tuple[int, ...]:
    prefix = "controlnet_cond_embedding."
    downs = range(1, _count(tensors, r"controlnet_cond_embedding\.blocks\.(\d+)\."), 2)
    first = tensors[f"{prefix}conv_in.weight"].shape[0]
    return (first, *(tensors[f"{prefix}blocks.{i}.weight"].shape[0] for i in downs))


def _linear_projection(tensors: Tensors) -> bool:
    return any(key.endswith("proj_in.weight") and value.ndim == 2 for key, value in tensors.items())


def require_channels(tensors: Tensors, shape: UNetShape) -> None:
    """Raise ModelError unless the residuals have the channels of the U-Net's skip connections."""
    count = _count(tensors, r"controlnet_down_blocks\.(\d+)\.")
    keys = [f"controlnet_down_blocks.{i}.weight" for i in range(count)]
    channels = tuple(tensors[key].shape[0] for key in (*keys, "controlnet_mid_block.weight"))
    if channels != shape.residual_channels:
        raise ModelError(
            f"the ControlNet returns residuals of {_listed(channels)} channels, "
            f"the loaded checkpoint takes {_listed(shape.residual_channels)}"
        )
    if tensors["conv_in.weight"].shape[1] > shape.in_channels:
        raise ModelError("the ControlNet reads more latent channels than the loaded checkpoint has")


def _listed(channels: tuple[int, ...]) -> str:
    return "-".join(map(str, channels))


def pools(path: Path) -> bool:
    """Whether a file is a Shuffle network, whose residuals are pooled, by its config.json or its name."""
    return bool(_config_beside(path).get("global_pool_conditions", "shuffle" in own_name(path)))


def _config_beside(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.with_name("config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("_class_name") == "ControlNetModel" else {}


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number that the pattern's group matches; 0 if nothing matches.

    Raises ValueError if a number is missing.
    """
    matcher = re.compile(pattern)
    found = {int(match[1]) for key in tensors if (match := matcher.match(key))}
    if found != set(range(len(found))):
        raise ValueError(f"its tensors {pattern} are not numbered one after the other")
    return len(found)
