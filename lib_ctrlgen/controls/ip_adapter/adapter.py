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
from lib_ctrlgen.controls.params import ENCODED, IMAGE_ENCODER
from lib_ctrlgen.errors import ModelError, at_path
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.clip_vision import VisionTower, find_encoder, load_tower
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.attention import KeyValue
from lib_ctrlgen.unet.call import AttentionSite, require_family

from .detect import ip_adapter_kind
from .file import AdapterWeights, stored_adapter

Tokens: TypeAlias = tuple[Tensor, Tensor]
ADVICE = ": lower its weight, or give layer_weights, to let the prompt lead"


@dataclass(frozen=True, kw_only=True)
class IPAdapter:
    """A loaded adapter: the projection to image tokens, and keys and values per layer."""

    name: ClassVar[str] = "ip_adapter"
    title: ClassVar[str] = "IP-Adapter"
    params: ClassVar[tuple[Param, ...]] = ENCODED

    weights: AdapterWeights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of an IP-Adapter's file, None for other files. Raises ModelError for a broken one."""
        return ip_adapter_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> IPAdapter:
        """Load an adapter for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)
        weights = stored_adapter(path, target.store, target.placement)
        require_widths([keys.shape[0] for keys, _ in weights.layers], target.shape.attention_hidden)
        return cls(weights=weights)

    @property
    def layers(self) -> int:
        """Cross-attentions that the adapter reaches (16 on SD1.5)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedIPAdapter:
        """Encode the picture (once, see the store). Raises RequestError at the unit's fields."""
        require_picture_unit(job, "an IP-Adapter", "ControlNets", ADVICE)
        encoder = str(job.params["image_encoder"])
        with at_path(f"{job.path}.params.image_encoder" if encoder else f"{job.path}.model"):
            folder = find_encoder(target.store, self.weights.feature, self.weights.width, encoder)
            tower = load_tower(target.store, folder, target.placement)
        key = folder.weights, target.placement, self.weights.feature
        with self.weights.weights.present():
            cond = self._tokens((image_hash(job.picture), *key), job.picture, tower, target)
            uncond = self._tokens(("zeros", *key), None, tower, target)
        return PreparedIPAdapter(
            weights=self.weights,
            cond=cond,
            uncond=uncond,
            seen=tower.square(job.picture),
            loaded={IMAGE_ENCODER.name: folder.label(target.store)},
        )

    def _tokens(
        self, key: tuple[Hashable, ...], picture: Image.Image | None, tower: VisionTower, target: Target
    ) -> Tensor:
        """Image tokens [1, T, X]; without a picture those of unconditional rows."""
        feature = target.store.cached(key, lambda: self._feature(picture, tower))
        with torch.no_grad():
            tokens: Tensor = self.weights.projection(feature.to(self.weights.weights.like))
        return tokens

    def _feature(self, picture: Image.Image | None, tower: VisionTower) -> Tensor:
        """The tower's output; without a picture, zeros: of the embedding (plain), of the pixels (others)."""
        if picture is not None:
            return tower.feature(tower.pixels(picture), self.weights.feature)
        if self.weights.feature == "pooled":
            return torch.zeros(1, self.weights.width)
        return tower.feature(tower.zeros(), self.weights.feature)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedIPAdapter:
    """One unit of a generation: its image tokens. `seen` is what the tower saw, `loaded` names the tower."""

    weights: AdapterWeights
    cond: Tensor
    uncond: Tensor
    seen: Image.Image
    loaded: Mapping[str, str] = field(default_factory=dict)

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
        pairs = keys_and_values(self.weights, torch.cat((self.uncond, self.cond)), sites)
        return tuple(KeyValue(keys.to(device, dtype), values.to(device, dtype)) for keys, values in pairs)

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the vision tower saw, at its own size whatever the picture's."""
        del width, height
        return self.seen


def keys_and_values(
    weights: AdapterWeights, tokens: Tensor, sites: Sequence[AttentionSite]
) -> list[tuple[Tensor, Tensor]]:
    """Keys and values [B, T, hidden] of tokens [B, T, X] for each site. Raises ModelError for other sites."""
    layers = weights.layers
    require_widths([keys.shape[0] for keys, _ in layers], [site.hidden for site in sites])
    with torch.no_grad(), weights.weights.present():
        return [
            (functional.linear(tokens, keys), functional.linear(tokens, values)) for keys, values in layers
        ]


def require_widths(adapter: Sequence[int], checkpoint: Sequence[int]) -> None:
    """Raise ModelError unless an adapter's layers have the widths of the checkpoint's cross attentions."""
    if list(adapter) != list(checkpoint):
        raise ModelError(
            f"the IP-Adapter has {len(adapter)} attention layers of widths {_listed(adapter)}, "
            f"the loaded checkpoint has {len(checkpoint)} of {_listed(checkpoint)}"
        )


def _listed(widths: Sequence[int]) -> str:
    return "-".join(map(str, dict.fromkeys(widths))) or "none"
