"""The levels of a U-Net's encoder, and where a T2I-Adapter's features go.

One place for each level, then the mid block. On a level with text attention it is the hidden
state before the downsampler, else the one that goes on to the next level. So SD1.5 takes
features after input blocks 2, 5, 8 and 11, SDXL after 3, 5, 8 and the mid block, as
sd-webui-controlnet and diffusers add them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from lib_ctrlgen.calls import FeaturePlace


def ldm_places(unet: Any) -> Iterator[tuple[nn.Module, FeaturePlace]]:
    """Of an ldm or sgm U-Net each place, and the block that puts that hidden state out."""
    stride = 1
    for level in ldm_levels(list(unet.input_blocks)[1:]):
        downs = is_downsampler(level[-1])
        before = downs and len(level) > 1 and any(map(has_text, level))
        block = level[-2] if before else level[-1]
        after = stride * 2 if downs else stride
        yield block, FeaturePlace(out_channels(block), stride if before else after)
        stride = after
    yield unet.middle_block, FeaturePlace(out_channels(unet.middle_block), stride)


def ldm_levels(blocks: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """The encoder's blocks by level; a downsampler ends its level."""
    level: list[nn.Module] = []
    for block in blocks:
        level.append(block)
        if is_downsampler(block):
            yield level
            level = []
    if level:
        yield level


def is_downsampler(block: nn.Module) -> bool:
    """Whether an ldm encoder block only makes the hidden state smaller."""
    return hasattr(next(iter(block.children())), "op")


def has_text(block: nn.Module) -> bool:
    """Whether there is cross attention in a block."""
    return any(getattr(module, "attn2", None) is not None for module in block.modules())


def out_channels(block: nn.Module) -> int:
    """The channels that an ldm encoder block puts out: those of its first layer that says so."""
    found: Any = next(m for m in block.children() if hasattr(m, "out_channels"))
    return int(found.out_channels)


def diffusers_places(unet: Any) -> Iterator[FeaturePlace]:
    """The places in diffusers' `UNet2DConditionModel`, which puts features there by itself."""
    stride = 1
    for block in unet.down_blocks:
        after = stride * 2 if block.downsamplers else stride
        before = getattr(block, "has_cross_attention", False)
        yield FeaturePlace(int(block.resnets[-1].out_channels), stride if before else after)
        stride = after
    yield FeaturePlace(int(unet.mid_block.resnets[-1].out_channels), stride)
