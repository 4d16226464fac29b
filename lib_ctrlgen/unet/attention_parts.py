"""Finds the linear layers of all attentions of a U-Net, self attentions too, for a LoRA that changes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

PARTS = ("q", "k", "v", "out")
_ATTENTION = re.compile(r"(?P<block>\w+)\..*transformer_blocks\.\d+\.attn[12]")


@dataclass(frozen=True, kw_only=True)
class AttentionPart:
    """A linear layer of an attention: the attention's number, and which layer it is (`PARTS`).

    Attentions are numbered from 0 in the order of diffusers' attention processors: down, up, middle, in each
    transformer block the self attention first. These are the numbers in IP-Adapter files.
    """

    number: int
    part: str
    module: nn.Module

    @property
    def place(self) -> tuple[int, str]:
        """The number and the part."""
        return self.number, self.part


def attention_parts(unet: nn.Module) -> tuple[AttentionPart, ...]:
    """Return `to_q`, `to_k`, `to_v` and the linear layer of `to_out` of every attention of a U-Net."""
    found = [
        (match["block"].startswith("mid"), module)
        for name, module in unet.named_modules()
        if (match := _ATTENTION.fullmatch(name))
    ]
    ordered = sorted(found, key=lambda each: each[0])
    return tuple(part for number, (_, module) in enumerate(ordered) for part in _parts(number, module))


def _parts(number: int, attention: Any) -> Iterator[AttentionPart]:
    modules = (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])
    for part, module in zip(PARTS, modules, strict=True):
        yield AttentionPart(number=number, part=part, module=module)
