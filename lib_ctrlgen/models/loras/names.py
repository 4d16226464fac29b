"""Names of a network's layers in LoRA files: kohya's flat names, for ldm's and for diffusers' module names.

kohya-ss/sd-scripts names a layer after the path of its module, with `_` instead of `.`, behind `lora_unet_`,
`lora_te_` (SD1.5, SD2), `lora_te1_` or `lora_te2_` (SDXL). For SD1.5 and SD2 the module names are those of
diffusers, for SDXL mostly those of ldm. Text encoders have the names of transformers.

>>> flat("down_blocks.0.attentions.1.proj_in"), ldm_flat("down_blocks_0_attentions_1_proj_in", 2)
('down_blocks_0_attentions_1_proj_in', ('input_blocks_2_1_proj_in',))
>>> kohya_key("unet", "mid_block.attentions.0.proj_in")
'lora_unet_mid_block_attentions_0_proj_in'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from torch import nn

# The network that a layer belongs to; SD1.5 and SD2 have `te`, SDXL has `te1` (CLIP-L) and `te2` (OpenCLIP).
Part: TypeAlias = Literal["unet", "te", "te1", "te2"]

_RESNET = MappingProxyType(
    {
        "conv1": "in_layers_2",
        "conv2": "out_layers_3",
        "norm1": "in_layers_0",
        "norm2": "out_layers_0",
        "time_emb_proj": "emb_layers_1",
        "conv_shortcut": "skip_connection",
    }
)
_FIXED = MappingProxyType(
    {
        "conv_in": "input_blocks_0_0",
        "conv_out": "out_2",
        "conv_norm_out": "out_0",
        "time_embedding_linear_1": "time_embed_0",
        "time_embedding_linear_2": "time_embed_2",
        "add_embedding_linear_1": "label_emb_0_0",
        "add_embedding_linear_2": "label_emb_0_2",
    }
)
_LEVEL = re.compile(r"(down|up)_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)")
_MIDDLE = re.compile(r"mid_block_(attentions|resnets)_(\d+)_(.+)")
_DOWN = re.compile(r"down_blocks_(\d+)_downsamplers_0_(?:conv|op)")
_UP = re.compile(r"up_blocks_(\d+)_upsamplers_0_conv")
_RESNETS = re.compile(r"down_blocks\.0\.resnets\.(\d+)")
_TEXT_MODEL = "text_model_"  # transformers 5 has no such level
LAYERS = 2  # resnets of a level of the encoder, in every published Stable Diffusion


def flat(name: str) -> str:
    """A module's path as kohya writes it."""
    return name.replace(".", "_")


def kohya_key(part: Part, name: str) -> str:
    """The beginning of the keys of a layer in kohya's layout; `name` is the path of its module.

    Of a text encoder it is the path in transformers before version 5, which begins with `text_model.`.
    """
    return f"lora_{part}_{flat(name)}"


def ldm_flat(name: str, layers: int) -> tuple[str, ...]:
    """The flat ldm names that a flat U-Net name may mean; an ldm name is returned as it is.

    `layers` is the number of resnets per level of the encoder. The convolution of an upsampler has the number
    1 or 2 in ldm, after the number of modules before it.
    """
    if found := _LEVEL.fullmatch(name):
        side, level, kind, number, rest = found.groups()
        first = (layers + 1) * int(level) + (1 if side == "down" else 0)
        block = f"{'input' if side == 'down' else 'output'}_blocks_{first + int(number)}"
        return (f"{block}_1_{rest}" if kind == "attentions" else f"{block}_0_{_RESNET.get(rest, rest)}",)
    if found := _MIDDLE.fullmatch(name):
        kind, number, rest = found.groups()
        attention = kind == "attentions"
        inner = rest if attention else _RESNET.get(rest, rest)
        return (f"middle_block_{2 * int(number) + attention}_{inner}",)
    if found := _DOWN.fullmatch(name):
        return (f"input_blocks_{(layers + 1) * (int(found[1]) + 1)}_0_op",)
    if found := _UP.fullmatch(name):
        block = f"output_blocks_{(layers + 1) * int(found[1]) + layers}"
        return f"{block}_2_conv", f"{block}_1_conv"
    return (_FIXED.get(name, name),)


class UNetNames:
    """The modules of a U-Net of ldm or of diffusers by the flat names that LoRA files may have for them."""

    def __init__(self, unet: nn.Module) -> None:
        names = [name for name, module in unet.named_modules() if _has_weight(module)]
        self.layers = resnets_per_level(name for name, _ in unet.named_modules())
        self._names: dict[str, str] = {}
        for name in names:
            for other in ldm_flat(flat(name), self.layers):
                self._names.setdefault(other, name)

    def find(self, name: str) -> str | None:
        """The path of the module that a file's flat name means, None if the U-Net has no such layer."""
        found = (self._names.get(other) for other in ldm_flat(name, self.layers))
        return next((path for path in found if path is not None), None)


class TextNames:
    """The modules of a text encoder of transformers by their flat names."""

    def __init__(self, encoder: nn.Module) -> None:
        paths = [name for name, module in encoder.named_modules() if _has_weight(module)]
        self._names: Mapping[str, str] = {flat(path).removeprefix(_TEXT_MODEL): path for path in paths}

    def find(self, name: str) -> str | None:
        """The path of the module that a file's flat name means, None if the encoder has no such layer."""
        return self._names.get(name.removeprefix(_TEXT_MODEL))


def resnets_per_level(names: Iterable[str]) -> int:
    """The number of resnets per level of a U-Net's encoder, from the paths of its modules.

    >>> resnets_per_level(["down_blocks.0.resnets.0", "down_blocks.0.resnets.1", "conv_in"])
    2
    """
    known = list(names)
    resnets = [int(found[1]) + 1 for name in known if (found := _RESNETS.fullmatch(name))]
    downs = [
        int(found[1]) - 1 for name in known if (found := re.fullmatch(r"input_blocks\.(\d+)\.0\.op", name))
    ]
    return max(resnets) if resnets else min(downs, default=LAYERS)


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm))
