"""Which layers of the networks get a LoRA, and their names in kohya's layout."""

from __future__ import annotations

import re

from torch import nn

from lib_ctrlgen.models.loras.names import Part, flat, kohya_key, ldm_flat, resnets_per_level

TRANSFORMER = re.compile(
    r".*\.attentions\.\d+\."
    r"(proj_in|proj_out|transformer_blocks\.\d+\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2)))"
)
CONVOLUTIONS = re.compile(
    r".*\.(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|(down|up)samplers\.\d+\.conv)"
)
TEXT = re.compile(r".*\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])")


def unet_layers(unet: nn.Module, *, sized: bool, convolutions: bool) -> dict[str, str]:
    """The kohya name of each U-Net layer that gets a LoRA, by its path in diffusers.

    kohya names the layers of SD1.5 and SD2 as diffusers does, those of SDXL (`sized`) as ldm does.
    """
    chosen = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and (TRANSFORMER.fullmatch(name) or (convolutions and CONVOLUTIONS.fullmatch(name)))
    ]
    if not sized:
        return {name: kohya_key("unet", name) for name in chosen}
    layers = resnets_per_level(name for name, _ in unet.named_modules())
    return {name: kohya_key("unet", _ldm_name(name, unet, layers)) for name in chosen}


def text_layers(encoder: nn.Module, number: int, count: int) -> dict[str, str]:
    """The kohya name of each layer of the `number`-th of `count` text encoders, by its path."""
    part: Part = "te" if count == 1 else ("te1", "te2")[number]
    return {
        name: kohya_key(part, "text_model." + name.removeprefix("text_model."))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and TEXT.fullmatch(name)
    }


def _ldm_name(name: str, unet: nn.Module, layers: int) -> str:
    """The flat name of a U-Net's layer in ldm; an upsampler's number depends on the attention before it.

    `layers` is the number of resnets per level.
    """
    found = ldm_flat(flat(name), layers)
    attended = getattr(unet.get_submodule(".".join(name.split(".")[:2])), "attentions", None)
    return found[0] if attended else found[-1]
