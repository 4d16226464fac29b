"""Parameter names of ControlNets and U-Net encoders: from ldm's layout to diffusers' (`ControlNetModel`).

diffusers' converter of ControlNets takes whole networks only. ControlLoRAs and differences to a checkpoint
need the names of single parameters, so the names are written out here (decision 0026).

>>> ldm_names(["input_blocks.1.0.in_layers.0.weight"])
{'input_blocks.1.0.in_layers.0.weight': 'down_blocks.0.resnets.0.norm1.weight'}
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESNET = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("emb_layers.1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
)
_FIXED = (
    ("time_embed.0.", "time_embedding.linear_1."),
    ("time_embed.2.", "time_embedding.linear_2."),
    ("label_emb.0.0.", "add_embedding.linear_1."),
    ("label_emb.0.2.", "add_embedding.linear_2."),
    ("input_blocks.0.0.", "conv_in."),
    ("middle_block_out.0.", "controlnet_mid_block."),
)
_NUMBERED = re.compile(r"(input_blocks|middle_block|zero_convs|input_hint_block)\.(\d+)\.(.*)")


def ldm_names(keys: Iterable[str]) -> dict[str, str]:
    """Map ldm's names of parameters (without the prefix `control_model.`) to diffusers' names.

    Unknown names map to themselves; loading the network reports them.
    """
    names = list(keys)
    matches = [match for key in names if (match := _NUMBERED.fullmatch(key))]
    downs = sorted({int(m[2]) for m in matches if m[1] == "input_blocks" and m[3].startswith("0.op.")})
    last_hint = max((int(m[2]) for m in matches if m[1] == "input_hint_block"), default=0)
    per_block = downs[0] if downs else max((int(m[2]) for m in matches), default=0) + 1
    return {key: _translate(key, per_block, last_hint) for key in names}


def _translate(key: str, per_block: int, last_hint: int) -> str:
    for old, new in _FIXED:
        if key.startswith(old):
            return new + key.removeprefix(old)
    match = _NUMBERED.fullmatch(key)
    if match is None:
        return key
    kind, number, rest = match[1], int(match[2]), match[3]
    if kind == "zero_convs":
        return f"controlnet_down_blocks.{number}.{rest.removeprefix('0.')}"
    if kind == "input_hint_block":
        return f"controlnet_cond_embedding.{_hint(number, last_hint)}.{rest}"
    if kind == "middle_block":
        part = "resnets" if number % 2 == 0 else "attentions"
        return f"mid_block.{part}.{number // 2}.{_resnet(rest) if number % 2 == 0 else rest}"
    return _encoder(number, rest, per_block)


def _hint(number: int, last: int) -> str:
    """The name of a convolution of the hint encoder, which ldm counts together with the activations."""
    if number in (0, last):
        return "conv_in" if number == 0 else "conv_out"
    return f"blocks.{number // 2 - 1}"


def _encoder(number: int, rest: str, per_block: int) -> str:
    """The name of a parameter of `input_blocks.N`, N >= 1.

    A level has `per_block` input blocks; the last one is the downsampler.
    """
    block, layer = divmod(number - 1, per_block)
    if rest.startswith("0.op."):
        return f"down_blocks.{block}.downsamplers.0.conv.{rest.removeprefix('0.op.')}"
    if rest.startswith("1."):
        return f"down_blocks.{block}.attentions.{layer}.{rest.removeprefix('1.')}"
    return f"down_blocks.{block}.resnets.{layer}.{_resnet(rest.removeprefix('0.'))}"


def _resnet(name: str) -> str:
    for old, new in _RESNET:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
