"""The LoRA inside an IP-Adapter FaceID file, for all attention layers of the U-Net.

Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models; the names are those of tencent-ailab's
`LoRAIPAttnProcessor`. It was trained together with the adapter, which is weaker without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.unet.attention_parts import PARTS

Place: TypeAlias = tuple[int, str]
Pair: TypeAlias = tuple[Tensor, Tensor]

KEY = re.compile(r"ip_adapter\.(?P<number>\d+)\.to_(?P<part>q|k|v|out)_lora\.(?P<half>down|up)\.weight")


class LoraLayers(nn.Module):
    """Down [rank, in] and up [out, rank] for places: the number of an attention layer, and q, k, v or out."""

    def __init__(self, pairs: Mapping[Place, Pair]) -> None:
        super().__init__()
        self.places = tuple(pairs)
        self.downs = nn.ParameterList([down for down, _ in pairs.values()])
        self.ups = nn.ParameterList([up for _, up in pairs.values()])
        self.requires_grad_(requires_grad=False)

    def __iter__(self) -> Iterator[tuple[Place, Pair]]:
        return zip(self.places, zip(self.downs, self.ups, strict=True), strict=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionLora:
    """A loaded LoRA of attention layers."""

    network: LoraLayers
    weights: Weights

    def pairs(self) -> dict[Place, Pair]:
        """Down [rank, in] and up [out, rank] by place, while `weights.present()`."""
        return dict(self.network)

    @property
    def attentions(self) -> int:
        """The number of attention layers that the LoRA reaches."""
        return 1 + max(number for number, _ in self.network.places)


def load_lora(tensors: Mapping[str, Tensor], placement: Placement, name: str) -> AttentionLora | None:
    """The LoRA in a file's tensors, None for a file without one. Raises ModelError for a broken one."""
    device, dtype = placement.home, placement.dtype
    halves = {match.groups(): key for key in tensors if (match := KEY.fullmatch(key))}
    if not halves:
        return None
    places = sorted({(int(number), part) for number, part, _ in halves}, key=_order)
    pairs = {}
    for number, part in places:
        keys = [f"ip_adapter.{number}.to_{part}_lora.{half}.weight" for half in ("down", "up")]
        found = [tensors.get(key) for key in keys]
        pairs[number, part] = _pair(found, name, keys)
    network = LoraLayers(
        {place: (a.to(device, dtype), b.to(device, dtype)) for place, (a, b) in pairs.items()}
    )
    return AttentionLora(network=network, weights=placed([network], placement, name))


def _order(place: Place) -> tuple[int, int]:
    number, part = place
    return number, PARTS.index(part)


def _pair(found: Sequence[Tensor | None], name: str, keys: Sequence[str]) -> Pair:
    down, up = found
    if down is None or up is None:
        missing = keys[0] if down is None else keys[1]
        raise ModelError(f"'{name}' is not a complete IP-Adapter: missing {missing}")
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise ModelError(
            f"'{name}' is not a complete IP-Adapter: {keys[0]} is {tuple(down.shape)} and its other half "
            f"{tuple(up.shape)}"
        )
    return down, up


def require_lora_fits(lora: AttentionLora, widths: Sequence[int], context: int, name: str) -> None:
    """Raise ModelError unless the LoRA's shapes are those of the checkpoint's attention layers.

    `widths` are those of its cross attentions; before each stands a self attention of the same width.
    """
    for (number, part), (down, up) in lora.network:
        width = widths[number // 2] if number < 2 * len(widths) else 0
        reads_text = number % 2 == 1 and part in {"k", "v"}
        wanted = (context if reads_text else width, width)
        if (down.shape[1], up.shape[0]) != wanted:
            raise ModelError(
                f"the LoRA in '{name}' maps {down.shape[1]} to {up.shape[0]} channels at attention layer "
                f"{number} ({part}), the loaded checkpoint {wanted[0]} to {wanted[1]}"
            )


def same_tensor(lora: AttentionLora, downs: Sequence[Tensor]) -> bool:
    """Whether one of some matrices [rank, in] is the first one of the LoRA, up to half precision."""
    with torch.no_grad(), lora.weights.present():
        own = next(iter(lora.network.downs)).detach().float().cpu()
    scale = float(own.abs().max())
    return any(
        down.shape == own.shape and float((down.detach().float().cpu() - own).abs().max()) <= 0.01 * scale
        for down in downs
    )
