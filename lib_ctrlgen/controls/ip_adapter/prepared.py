"""A unit of an IP-Adapter whose image tokens are made: keys and values, and the weights of the layers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.attention_protocols import AttentionPart
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.unet.attention import KeyValue, LayerWeighting
from lib_ctrlgen.unet.call import AttentionSite

from .combine import even
from .file import AdapterWeights
from .weight_types import WeightType

Tokens: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedIPAdapter:
    """One unit of a generation: its image tokens [1, T, X], and how it acts on each layer.

    cond, uncond  the tokens of conditional and of unconditional rows
    composition   those of conditional rows in the layers of the composition; None: as in the others
    kind          the weight type; None: every layer gets the unit's weight
    seen          what the encoder saw
    loaded        the name of the encoder
    lasting       whether the tokens are those of a whole generation: their keys and values are kept
    """

    weights: AdapterWeights
    cond: Tensor
    uncond: Tensor
    seen: Image.Image
    composition: Tensor | None = None
    kind: WeightType | None = None
    lasting: bool = True
    loaded: Mapping[str, str] = field(default_factory=dict)
    known: dict[Hashable, tuple[KeyValue, ...]] = field(default_factory=dict)

    @property
    def weighting(self) -> LayerWeighting:
        """The weight of each cross attention."""
        return LayerWeighting.even(len(self.weights.layers)) if self.kind is None else self.kind.weighting

    def parts(self, _progress: float) -> tuple[AttentionPart, ...]:
        """This unit alone: its tokens are the same at every step, and everywhere."""
        return (AttentionPart(self),)

    def tokens(self) -> Tokens:
        """Image tokens of conditional and of unconditional rows, each [1, T, X]."""
        return self.cond, self.uncond

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values [2, T, hidden] per site, row 0 uncond and row 1 cond.

        Layer `i` of the file, by ascending number, belongs to `sites[i]` (down, up, middle).
        Raises ModelError when their number or widths differ.
        """
        layers = self.weights.layers
        require_widths([keys.shape[0] for keys, _ in layers], [site.hidden for site in sites])
        found = self.known.get((dtype, device))
        if found is None:
            with torch.no_grad(), self.weights.weights.present():
                pairs = [self._pair(place, *layer) for place, layer in enumerate(layers)]
            found = tuple(
                KeyValue(keys.to(device, dtype), values.to(device, dtype)) for keys, values in pairs
            )
        if self.lasting:
            self.known[dtype, device] = found
        return found

    def _pair(self, place: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [2, T, hidden] of a layer with these weights.

        Where the weight type is precise, unconditional rows get the tokens of conditional ones, and these
        get zeros, which add nothing.
        """
        kind, cond = self.kind or WeightType(self.weighting), self.cond
        if self.composition is not None and place in kind.composition:
            cond = self.composition
        if place not in kind.swapped:
            tokens = torch.cat(even([self.uncond, cond]))
            return functional.linear(tokens, keys), functional.linear(tokens, values)
        own = functional.linear(cond, keys), functional.linear(cond, values)
        return torch.cat((own[0], torch.zeros_like(own[0]))), torch.cat((own[1], torch.zeros_like(own[1])))

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the encoder saw, at its own size whatever the picture's; several squares side by side."""
        del width, height
        return self.seen


def require_widths(adapter: Sequence[int], checkpoint: Sequence[int]) -> None:
    """Raise ModelError unless an adapter's layers have the widths of the checkpoint's cross attentions."""
    if list(adapter) != list(checkpoint):
        raise ModelError(
            f"the IP-Adapter has {len(adapter)} attention layers of widths {_listed(adapter)}, "
            f"the loaded checkpoint has {len(checkpoint)} of {_listed(checkpoint)}"
        )


def _listed(widths: Sequence[int]) -> str:
    return "-".join(map(str, dict.fromkeys(widths))) or "none"
