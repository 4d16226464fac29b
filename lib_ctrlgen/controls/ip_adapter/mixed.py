"""A unit of an IP-Adapter whose image tokens change over the steps, or differ between tiles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.attention_protocols import AttentionPart
from lib_ctrlgen.images.squares import Grid
from lib_ctrlgen.unet.attention import KeyValue, LayerWeighting
from lib_ctrlgen.unet.call import AttentionSite

from .combine import Features
from .file import AdapterWeights
from .prepared import PreparedIPAdapter
from .references import Mixtures
from .weight_types import WeightType


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedIPAdapter:
    """One unit of a generation. `grid` is how its picture is cut into tiles, None: not at all.

    With `averaged` the tokens of several references are averaged, as sd-webui-controlnet does.

    The other fields are those of `PreparedIPAdapter`, which it is at each step and for each tile.
    """

    weights: AdapterWeights
    mixtures: Mixtures
    kind: WeightType
    seen: Image.Image
    grid: Grid | None = None
    loaded: Mapping[str, str] = field(default_factory=dict)
    averaged: bool = False
    known: dict[Hashable, tuple[AttentionPart, ...]] = field(default_factory=dict)

    @property
    def weighting(self) -> LayerWeighting:
        """The weight of each cross attention."""
        return self.kind.weighting

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        """Each tile with its tokens, which are computed once for equal weights of the references."""
        key = self.mixtures.weights_at(progress)
        if key not in self.known:
            shares = [None] if self.grid is None else self.grid.masks
            self.known[key] = tuple(map(AttentionPart, self.made(progress), shares))
        return self.known[key]

    @cached_property
    def whole(self) -> PreparedIPAdapter:
        """The first tile at the first step."""
        (first, *_) = self.made(0.0)
        return first

    def made(self, progress: float) -> list[PreparedIPAdapter]:
        """Each tile at a progress."""
        mixtures, own = self.mixtures, self.mixtures.composition
        with torch.no_grad(), self.weights.weights.present():
            tiles = [self._tokens(tile.at(progress)) for tile in mixtures.tiles]
            uncond = self._tokens(mixtures.negative.at(progress))
            composition = None if own is None else self._tokens(own.at(progress))
        return [
            PreparedIPAdapter(
                weights=self.weights,
                cond=cond,
                uncond=uncond,
                composition=composition,
                kind=self.kind,
                seen=self.seen,
                loaded=self.loaded,
                lasting=not mixtures.changing,
            )
            for cond in tiles
        ]

    def _tokens(self, features: Sequence[Features]) -> Tensor:
        """The tokens of features: side by side, or their mean, [1, T, X]."""
        like = self.weights.weights.like
        found = [self.weights.projection(*(tensor.to(like) for tensor in each)) for each in features]
        return torch.stack(found).mean(0) if self.averaged else torch.cat(found, dim=1)

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values per site of the first tile at the first step."""
        return self.whole.terms(sites, dtype, device)

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the encoder saw of each reference and tile, side by side."""
        return self.whole.control_map(width, height)
