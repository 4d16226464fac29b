"""Which layers of the U-Net a reference picture acts on, from the coverage that a unit asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lib_ctrlgen.unet.call import AttentionSite
from lib_ctrlgen.unet.port import UNetBlocks


def attention_ranks(sites: Sequence[AttentionSite]) -> tuple[float, ...]:
    """Return for each self attention the coverage 0..1 above which a unit acts there.

    The widest layers come first; among layers of one width those of the encoder, then mid, then decoder.
    """
    parts = {"input_blocks": 0, "down_blocks": 0, "middle_block": 1, "mid_block": 1}

    def order(place: int) -> tuple[int, int, int]:
        layer: Any = sites[place].to_q
        return -int(layer.in_features), parts.get(sites[place].name.split(".")[0], 2), place

    ordered = sorted(range(len(sites)), key=order)
    return tuple(ordered.index(place) / len(sites) for place in range(len(sites)))


def adain_modules(blocks: UNetBlocks, strides: Sequence[int]) -> list[tuple[nn.Module, float]]:
    """Return the modules to which AdaIN may be applied, each with the coverage above which it acts there.

    They are the mid block (0), the encoder's blocks below the full size (2 to 1/3 on SD1.5, the last ones
    first) and the first two thirds of the decoder's blocks (0 to 7/4).
    """
    encoder = [
        block
        for number, block in enumerate(blocks.encoder)
        if number and strides[number] > 1 and strides[number] == strides[number - 1]
    ]
    decoder = blocks.decoder[: len(blocks.decoder) * 2 // 3]
    found: list[tuple[nn.Module, float]] = [(blocks.middle, 0.0)]
    found += [(block, 2 * (1 - k / len(encoder))) for k, block in enumerate(encoder)]
    return found + [(block, 2 * k / len(decoder)) for k, block in enumerate(decoder)]
