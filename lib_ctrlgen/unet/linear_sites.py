"""Finds the linear layers of a U-Net's attention that read image tokens, and names them as ldm does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

_READERS = re.compile(r"(.+)\.(transformer_blocks\.\d+\.(?:attn1\.to_[qkv]|attn2\.to_q))")
_ATTENTIONS = re.compile(r"(down|up)_blocks\.(\d+)\.attentions\.(\d+)")
_LAYERS = re.compile(r"down_blocks\.0\.resnets\.(\d+)")
_MIDDLE = {"mid_block.attentions.0": "middle_block.1"}


@dataclass(frozen=True, kw_only=True)
class InputSite:
    """A linear layer whose input is image tokens [B, N, width].

    `name` is its ldm name, such as `input_blocks.4.1.transformer_blocks.0.attn1.to_q`; `block` is the part
    before `transformer_blocks`, here `input_blocks.4.1`.
    """

    name: str
    block: str
    module: nn.Module
    width: int


def input_sites(unet: nn.Module) -> tuple[InputSite, ...]:
    """Return `to_q`, `to_k`, `to_v` of every self attention and `to_q` of every cross attention.

    They are in checkpoint order: down, up, middle. `to_k` and `to_v` of cross attention read the text.
    """
    modules = dict(unet.named_modules())
    layers = max((int(found[1]) + 1 for name in modules if (found := _LAYERS.fullmatch(name))), default=0)
    return tuple(sorted(_sites(modules.items(), layers), key=lambda site: site.block.startswith("middle")))


def _sites(modules: Iterable[tuple[str, nn.Module]], layers: int) -> Iterator[InputSite]:
    for name, module in modules:
        found = _READERS.fullmatch(name)
        if found and isinstance(module, nn.Linear):
            block = ldm_block(found[1], layers)
            yield InputSite(
                name=f"{block}.{found[2]}", block=block, module=module, width=int(module.in_features)
            )


def ldm_block(block: str, layers: int) -> str:
    """Convert diffusers' name of a transformer to ldm's; a name that is ldm's already is returned as it is.

    `layers` is the number of resnets per level of the encoder (2 in Stable Diffusion).

    >>> ldm_block("down_blocks.1.attentions.0", 2), ldm_block("up_blocks.0.attentions.2", 2)
    ('input_blocks.4.1', 'output_blocks.2.1')
    """
    found = _ATTENTIONS.fullmatch(block)
    if not found:
        return _MIDDLE.get(block, block)
    number = (layers + 1) * int(found[2]) + int(found[3])
    return f"input_blocks.{number + 1}.1" if found[1] == "down" else f"output_blocks.{number}.1"
