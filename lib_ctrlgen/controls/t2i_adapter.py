"""T2I-Adapter: a small network computes features of a control map, which are added to the U-Net's encoder.

Mou et al. 2023, T2I-Adapter: Learning Adapters to Dig out More Controllable Ability. The
network is diffusers' `T2IAdapter`, unchanged: full, light, and full for SDXL. Its only input is the
control map, so it runs once per picture and size, and never during a step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import LATENT_FACTOR, FeaturePlace
from lib_ctrlgen.unet.family import require_family

from .assigned_map import AnyMap, AssignedMap
from .base import Target, UnitInputs
from .control_map import ControlMap
from .t2i_adapter_file import feature_places, load_network, t2i_kind


@dataclass(frozen=True, kw_only=True)
class T2IAdapter:
    """A loaded T2I-Adapter."""

    name: ClassVar[str] = "t2i_adapter"
    title: ClassVar[str] = "T2I-Adapter"
    params: ClassVar[tuple[Param, ...]] = ()

    network: Any
    origin: tuple[Hashable, ...]  # a cache key: the file, and the storage format of the weights
    weights: Weights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a T2I-Adapter's file, None for other files. Raises ModelError for a broken one."""
        return t2i_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> T2IAdapter:
        """Load an adapter for the target's U-Net, or return it from the store. Raises ModelError."""
        if kind.family.context_dim:
            require_family(kind.family, target.shape.family, path.stem)

        def load_t2i_adapter(path: Path) -> T2IAdapter:
            network = load_network(path, placement.home, placement.dtype)
            weights = placed([network], placement, path.stem)
            return cls(network=network, origin=(*stamp(path), placement.storage), weights=weights)

        placement = target.placement
        model = target.store.get(path, load_t2i_adapter, placement)
        _require_places(feature_places(model.network), target.shape.feature_places)
        return model

    @property
    def layers(self) -> int:
        """The number of features: one per level of the encoder (4)."""
        return len(feature_places(self.network))

    @property
    def map_channels(self) -> int:
        """The channels of the control map that the network reads: 3 (RGB) or 1 (brightness)."""
        return int(self.network.config.in_channels)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedT2IAdapter:
        """Return the control of one unit. Raises RequestError at the unit's fields."""
        return PreparedT2IAdapter(model=self, map=ControlMap.of(job, target, 0.0, holes=False))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedT2IAdapter:
    """A T2I-Adapter with one unit's control map. Maps and features are cached in the store.

    `first` holds the features of the first size that was asked for.
    """

    model: T2IAdapter
    map: AnyMap
    first: list[tuple[Tensor, ...]] = field(default_factory=list)

    def features(self, height: int, width: int) -> tuple[Tensor, ...]:
        """The four unweighted features [1, C, h, w] for a latent of this size.

        With the semantics of sd-webui-controlnet, those of the first size are enlarged for the others.
        """
        if isinstance(self.map, AssignedMap) or self.map.job.unit.semantics is None:
            return self.computed(height, width)
        if not self.first:
            self.first.append(self.computed(height, width))
        found = []
        for feature, place in zip(self.first[0], feature_places(self.model.network), strict=True):
            size = (-(-height // place.stride), -(-width // place.stride))
            same = feature.shape[-2:] == size
            found.append(feature if same else functional.interpolate(feature, size=size, mode="nearest"))
        return tuple(found)

    def computed(self, height: int, width: int) -> tuple[Tensor, ...]:
        """The features of the map for a latent of this size."""
        like = self.model.weights.like
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def computed() -> tuple[Tensor, ...]:
            with self.model.weights.present():
                return tuple(self.model.network(self.hint(*size).to(like)))

        key = ("features", *self.model.origin, like.dtype, like.device, *self.map.key(*size))
        found: tuple[Tensor, ...] = self.map.kept(key, computed)
        return found

    def hint(self, width: int, height: int) -> Tensor:
        """The network's input [1, C, H, W] in 0..1; C is 3 (RGB) or 1 (brightness).

        The border is repeated to the right and below, up to a whole number of the network's cells.
        """
        config = self.model.network.config
        hint = self.map.pixels(width, height, self.model.map_channels)
        right, below = (-side % config.downscale_factor for side in (width, height))
        return functional.pad(hint, (0, right, 0, below), mode="replicate")

    def control_map(self, width: int, height: int) -> Image.Image:
        """The picture fitted to the size, then preprocessed. RGB."""
        return self.map.shown(width, height)


def _require_places(adapter: Sequence[FeaturePlace], checkpoint: Sequence[FeaturePlace]) -> None:
    """Raise ModelError unless the U-Net has hidden states of the features' channels and strides."""
    if list(adapter) != list(checkpoint[: len(adapter)]):
        raise ModelError(
            f"the T2I-Adapter returns features of {_listed(adapter)}, "
            f"the loaded checkpoint takes {_listed(checkpoint)}"
        )


def _listed(places: Sequence[FeaturePlace]) -> str:
    return ", ".join(f"{place.channels} channels at 1/{place.stride}" for place in places)
