"""Renames weights from diffusers' and transformers' names to those of published single files (ldm, cldm).

All names follow from the structure: block i, layer j, `per_level` resnets per level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]

RESNET: Rules = (
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".conv_shortcut.", ".skip_connection."),
)
ENDS: Rules = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
    ("controlnet_mid_block.", "middle_block_out.0."),
)
VAE: Rules = (
    (".conv_norm_out.", ".norm_out."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.", ".mid.attn_1."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".resnets.", ".block."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    (".group_norm.", ".norm."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
)


def unet_to_ldm(state: Mapping[str, Tensor], per_level: int = 2) -> Weights:
    """The weights of a diffusers U-Net or ControlNet under ldm's names."""
    attended = {m[1] for key in state if (m := re.match(r"up_blocks\.(\d+)\.attentions\.", key))}
    return {_unet_key(key, per_level, attended): value for key, value in state.items()}


def _unet_key(key: str, per_level: int, attended: set[str]) -> str:
    for ours, theirs in ENDS:
        if key.startswith(ours):
            return _in_resnet(theirs + key[len(ours) :])
    if key.startswith("controlnet_cond_embedding."):
        return _hint_key(key.removeprefix("controlnet_cond_embedding."))
    if match := re.match(r"controlnet_down_blocks\.(\d+)\.(.*)", key):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    if match is None:
        raise KeyError(f"no ldm name for {key!r}")
    side, level, kind, layer, rest = match.groups()
    start = int(level) * (per_level + 1)
    if side == "down":
        return _in_resnet(_down_key(start, kind, int(layer), rest, per_level))
    return _in_resnet(_up_key(start, kind, int(layer), rest, per_level, level in attended))


def _down_key(start: int, kind: str, layer: int, rest: str, per_level: int) -> str:
    if kind == "downsamplers":
        return f"input_blocks.{start + per_level + 1}.0.op.{rest.removeprefix('conv.')}"
    return f"input_blocks.{start + 1 + layer}.{int(kind == 'attentions')}.{rest}"


def _up_key(start: int, kind: str, layer: int, rest: str, per_level: int, attended: bool) -> str:
    if kind == "upsamplers":
        return f"output_blocks.{start + per_level}.{1 + attended}.{rest}"
    return f"output_blocks.{start + layer}.{int(kind == 'attentions')}.{rest}"


def _in_resnet(key: str) -> str:
    """Rename the weights inside a resnet; those in transformer blocks have the same names."""
    if "transformer_blocks" in key:
        return key
    for ours, theirs in RESNET:
        key = key.replace(ours, theirs)
    return key


def _hint_key(key: str) -> str:
    name, rest = key.rsplit(".", 1)
    if name == "conv_in":
        return f"input_hint_block.0.{rest}"
    if name == "conv_out":
        return f"input_hint_block.14.{rest}"
    return f"input_hint_block.{2 + 2 * int(name.removeprefix('blocks.'))}.{rest}"


def vae_to_ldm(state: Mapping[str, Tensor], levels: int = 4) -> Weights:
    """The weights of a diffusers AutoencoderKL under ldm's names; its attention as 1x1 convolutions."""
    return {_vae_key(key, levels): _as_conv(key, value) for key, value in state.items()}


def _vae_key(key: str, levels: int) -> str:
    key = re.sub(r"\.down_blocks\.(\d+)\.", r".down.\1.", key)
    key = re.sub(r"\.up_blocks\.(\d+)\.", lambda m: f".up.{levels - 1 - int(m[1])}.", key)
    for ours, theirs in VAE:
        key = key.replace(ours, theirs)
    return key


def _as_conv(key: str, value: Tensor) -> Tensor:
    inside = ".attentions." in key and value.ndim == 2
    return value[:, :, None, None] if inside else value


def text_to_ldm(state: Mapping[str, Tensor]) -> Weights:
    """The weights of a text encoder under the names of transformers 4 and ldm, with position ids."""
    named = {"text_model." + key.removeprefix("text_model."): value for key, value in state.items()}
    named["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return named


def vision_to_old(state: Mapping[str, Tensor]) -> Weights:
    """The weights of a vision encoder under the names of transformers 4."""
    return {
        key if key.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{key}": value
        for key, value in state.items()
        if not key.endswith("position_ids")
    }


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights with a prefix before each name."""
    return {prefix + key: value for key, value in weights.items()}


def halved(weights: Mapping[str, Tensor]) -> Weights:
    """Floats as fp16, integers unchanged; all contiguous, without shared memory."""
    return {
        key: (value.detach().half() if value.is_floating_point() else value).contiguous().clone()
        for key, value in weights.items()
    }
