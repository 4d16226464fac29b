"""IP-Adapter: attention over the tokens of a reference picture, beside the text's.

Ye et al. 2023, IP-Adapter: Text Compatible Image Prompt Adapter. Plain, plus and full
variants; weights, masks and schedules are applied by the session.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.params import IP_ADAPTER
from lib_ctrlgen.controls.protocols import AttentionPart
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.squares import Grid
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.attention import KeyValue, LayerWeighting
from lib_ctrlgen.unet.call import AttentionSite, require_family

from .combine import Features, even
from .detect import ip_adapter_kind
from .file import AdapterWeights, load_adapter
from .reader import reader_for
from .references import Mixtures, Sources
from .weight_types import WeightType, weight_type

Tokens: TypeAlias = tuple[Tensor, Tensor]
ADVICE = ": lower its weight, or give layer_weights, to let the prompt lead"


@dataclass(frozen=True, kw_only=True)
class IPAdapter:
    """A loaded adapter: the projection to image tokens, and keys and values per layer."""

    name: ClassVar[str] = "ip_adapter"
    title: ClassVar[str] = "IP-Adapter"
    params: ClassVar[tuple[Param, ...]] = IP_ADAPTER

    weights: AdapterWeights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of an IP-Adapter's file, None for other files. Raises ModelError for a broken one."""
        return ip_adapter_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> IPAdapter:
        """Load an adapter for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)

        def load_ip_adapter(path: Path) -> AdapterWeights:
            return load_adapter(path, target.placement)

        weights = target.store.get(path, load_ip_adapter, target.placement)
        _require_widths([keys.shape[0] for keys, _ in weights.layers], target.shape.attention_hidden)
        return cls(weights=weights)

    @property
    def layers(self) -> int:
        """Cross-attentions that the adapter reaches (16 on SD1.5)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedIPAdapter:
        """Read the references (each once, see the store). Raises RequestError at the unit's fields."""
        require_picture_unit(job, "an IP-Adapter", "ControlNets", ADVICE)
        kind = weight_type(job.params, target.shape.attention_places, f"{job.path}.params")
        sources = Sources.of(job)
        reader = reader_for(self.weights, job, target, sources.main[0])
        return PreparedIPAdapter(
            weights=self.weights,
            mixtures=Mixtures.read(sources, reader, job),
            kind=kind,
            grid=reader.grid,
            seen=_row([look for source in sources.main for look in reader.seen(source)]),
            loaded=reader.loaded,
        )


def _row(squares: Sequence[Image.Image]) -> Image.Image:
    """Squares side by side."""
    side = squares[0].width
    row = Image.new("RGB", (side * len(squares), side))
    for place, square in enumerate(squares):
        row.paste(square, (place * side, 0))
    return row


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedIPAdapter:
    """One unit of a generation: what its image tokens are made of, and how it acts on each layer.

    `seen` is what the encoder saw, `loaded` names the encoder, `grid` is how the picture is cut into tiles.
    """

    weights: AdapterWeights
    mixtures: Mixtures
    kind: WeightType
    seen: Image.Image
    grid: Grid | None = None
    loaded: Mapping[str, str] = field(default_factory=dict)
    known: dict[Hashable, tuple[AttentionPart, ...]] = field(default_factory=dict)

    @property
    def weighting(self) -> LayerWeighting:
        """The weight of each cross attention."""
        return self.kind.weighting

    def tokens(self) -> Tokens:
        """Image tokens of conditional and of unconditional rows at the first step, each [1, T, X]."""
        terms = self._first()
        return terms.cond, terms.uncond

    def _first(self) -> TokenTerms:
        (first, *_) = self._made(0.0)
        return first

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        """The tiles of the picture, each with its tokens; tokens are computed once for equal weights."""
        key = self.mixtures.weights_at(progress)
        if key not in self.known:
            shares = [None] if self.grid is None else self.grid.masks
            terms = self._made(progress)
            self.known[key] = tuple(map(AttentionPart, terms, shares))
        return self.known[key]

    def _made(self, progress: float) -> list[TokenTerms]:
        mixtures = self.mixtures
        with torch.no_grad(), self.weights.weights.present():
            cond = [self._projected(tile.at(progress)) for tile in mixtures.tiles]
            uncond = self._projected(mixtures.negative.at(progress))
            own = mixtures.composition
            composition = None if own is None else self._projected(own.at(progress))
        return [
            TokenTerms(
                weights=self.weights,
                cond=tokens,
                uncond=uncond,
                composition=composition,
                kind=self.kind,
                lasting=mixtures.constant,
            )
            for tokens in cond
        ]

    def _projected(self, features: Sequence[Features]) -> Tensor:
        """The tokens of features, side by side: [1, T, X]."""
        like = self.weights.weights.like
        return torch.cat(
            [self.weights.projection(*(tensor.to(like) for tensor in each)) for each in features], dim=1
        )

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values per site of the first tile at the first step, see `TokenTerms.terms`."""
        return self._first().terms(sites, dtype, device)

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the encoder saw, at its own size whatever the picture's; several squares side by side."""
        del width, height
        return self.seen


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTerms:
    """Image tokens, each [1, T, X], and the keys and values that an adapter makes of them.

    `lasting` tokens are those of a whole generation: their keys and values are kept.
    """

    weights: AdapterWeights
    cond: Tensor
    uncond: Tensor
    kind: WeightType
    composition: Tensor | None = None
    lasting: bool = True
    known: dict[Hashable, tuple[KeyValue, ...]] = field(default_factory=dict)

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values [2, T, hidden] per site, row 0 uncond and row 1 cond.

        Layer `i` of the file, by ascending number, belongs to `sites[i]` (down, up, middle).
        Raises ModelError when their number or widths differ.
        """
        layers = self.weights.layers
        _require_widths([keys.shape[0] for keys, _ in layers], [site.hidden for site in sites])
        key = (dtype, device)
        if key in self.known:
            return self.known[key]
        with torch.no_grad(), self.weights.weights.present():
            found = tuple(
                KeyValue(
                    functional.linear(tokens, keys).mul_(shown).to(device, dtype),
                    functional.linear(tokens, values).mul_(shown).to(device, dtype),
                )
                for place, (keys, values) in enumerate(layers)
                for tokens, shown in [self._rows(place)]
            )
        if self.lasting:
            self.known[key] = found
        return found

    def _rows(self, place: int) -> tuple[Tensor, Tensor]:
        """The tokens [2, T, X] of both kinds of rows at a site, and 1 or 0 for each: 0 for no tokens."""
        cond = self.cond
        if self.composition is not None and place in self.kind.composition:
            cond = self.composition
        swapped = place in self.kind.swapped
        tokens = torch.cat(even([cond, cond] if swapped else [self.uncond, cond]))
        return tokens, tokens.new_tensor([1.0, 0.0 if swapped else 1.0]).reshape(2, 1, 1)


def _require_widths(adapter: Sequence[int], checkpoint: Sequence[int]) -> None:
    if list(adapter) != list(checkpoint):
        raise ModelError(
            f"the IP-Adapter has {len(adapter)} attention layers of widths {_listed(adapter)}, "
            f"the loaded checkpoint has {len(checkpoint)} of {_listed(checkpoint)}"
        )


def _listed(widths: Sequence[int]) -> str:
    return "-".join(map(str, dict.fromkeys(widths))) or "none"
