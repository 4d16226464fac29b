"""ControlNet-LLLite: small networks that change the inputs of attention's linear layers, for SDXL.

Kohya 2023, ControlNet-LLLite ("LoRA-like lite", in sd-scripts). The input x of a layer becomes
x + w up(relu(mid([embedding of the map, relu(down(x))]))). The embedding, and its part of `mid`, are computed
once for each picture, size and layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.loading import fill, map_channels
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.family import Family
from lib_ctrlgen.unet.linear_sites import InputSite, input_sites

from .assigned_map import AnyMap
from .base import Target, UnitInputs
from .control_map import ControlMap
from .protocols import InputChange

STRIDES = (8, 16, 32)  # pixels of the map per position (token) of a layer
_KEY = re.compile(r"(?:lllite_unet_)?(\w+)\.(conditioning1|down|mid|up)\.(\d+)\.(weight|bias)")


class LLLiteLayer(nn.Module):
    """The network for one linear layer with C inputs: it encodes the map to E channels; `mid` has M."""

    conditioning1: Any
    down: Any
    mid: Any
    up: Any

    def __init__(self, convolutions: Sequence[nn.Conv2d], width: int, embedding: int, middle: int) -> None:
        super().__init__()
        spread = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
        self.conditioning1 = nn.Sequential(*spread[:-1])
        self.down = nn.Sequential(nn.Linear(width, middle), nn.ReLU())
        self.mid = nn.Sequential(nn.Linear(middle + embedding, middle), nn.ReLU())
        self.up = nn.Sequential(nn.Linear(middle, width))

    @property
    def stride(self) -> int:
        """Pixels of the map per position of the layer."""
        return math.prod(layer.stride[0] for layer in self.conditioning1 if isinstance(layer, nn.Conv2d))

    @property
    def map_channels(self) -> int:
        """Channels of the control map that it reads: 3 (RGB) or 1 (brightness)."""
        return int(self.conditioning1[0].in_channels)

    def seen(self, hint: Tensor) -> Tensor:
        """The map's part of `mid`, [1, N, M]; `hint` is the map [1, C, H, W] in -1..1, its edge repeated.

        For maps of B rows it has B rows.
        """
        over = (0, -hint.shape[-1] % self.stride, 0, -hint.shape[-2] % self.stride)
        embedding = self.conditioning1(functional.pad(hint, over, mode="replicate")).flatten(2).mT
        weight, bias = self.mid[0].weight, self.mid[0].bias
        return functional.linear(embedding, weight[:, : embedding.shape[-1]], bias)

    def forward(self, seen: Tensor, x: Tensor) -> Tensor:
        """The tensor that is added to the layer's input x [B, N, C]; `seen` is the map's part of `mid`.

        Raises HostError if x has another number of positions N than the map.
        """
        if x.shape[1] != seen.shape[1]:
            raise HostError(
                f"a layer gets {x.shape[1]} tokens where the control map of an LLLite has {seen.shape[1]}: "
                "switch off extensions that merge tokens or cut the picture into tiles"
            )
        down = self.down(x.to(seen))
        mixed = functional.linear(down, self.mid[0].weight[:, -down.shape[-1] :]) + seen
        changed: Tensor = self.up(functional.relu(mixed))
        return changed.to(x)


@dataclass(frozen=True, kw_only=True)
class LLLite:
    """A loaded ControlNet-LLLite.

    network  the network for each linear layer that it changes, by the layer's name in ldm with `_` for `.`
    blocks   the transformers that it changes, with the index of their layer weight
    origin   a cache key: the file, and the storage format of the weights
    """

    name: ClassVar[str] = "lllite"
    title: ClassVar[str] = "ControlNet-LLLite"
    params: ClassVar[tuple[Param, ...]] = ()

    network: Mapping[str, LLLiteLayer]
    blocks: Mapping[str, int]
    origin: tuple[Hashable, ...]
    weights: Weights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of an LLLite file, None for other files."""
        if not any("lllite" in key for key in shapes):
            return None
        return ModelKind(control=cls.name, layout="ldm", family=Family.of(2048))

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> LLLite:
        """Load an LLLite for the target's U-Net, or return it from the store. Raises ModelError."""
        del kind  # every LLLite is for SDXL; its layers are compared with the U-Net below

        def load_lllite(path: Path) -> tuple[Mapping[str, LLLiteLayer], Weights]:
            network = load_network(path, placement.home, placement.dtype)
            return network, placed(list(network.values()), placement, path.stem)

        placement = target.placement
        network, weights = target.store.get(path, load_lllite, placement)
        sites = {flat(site.name): site for site in input_sites(target.base)}
        for name, layer in network.items():
            _require_site(name, layer, sites.get(name), target, path.stem)
        blocks = dict.fromkeys(site.block for name, site in sites.items() if name in network)
        return cls(
            network=network,
            blocks={block: number for number, block in enumerate(blocks)},
            origin=(*stamp(path), placement.storage),
            weights=weights,
        )

    @property
    def layers(self) -> int:
        """The number of transformers that are changed (5 in most files); their order is down, up, middle."""
        return len(self.blocks)

    @property
    def map_channels(self) -> int:
        """The channels of the control map that the networks read: 3 (RGB) or 1 (brightness)."""
        return next(iter(self.network.values())).map_channels

    def prepare(self, job: UnitInputs, target: Target) -> PreparedLLLite:
        """Return the control of one unit. Raises RequestError at the unit's fields."""
        return PreparedLLLite(model=self, map=ControlMap.of(job, target, 0.0, holes=False))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedLLLite:
    """A ControlNet-LLLite with one unit's control map, whose encodings are cached in the store."""

    model: LLLite
    map: AnyMap

    def control_map(self, width: int, height: int) -> Image.Image:
        """The unit's control map at this size in pixels, RGB."""
        return self.map.shown(width, height)

    @property
    def layers(self) -> int:
        """The number of layer weights, one for each transformer."""
        return self.model.layers

    def present(self) -> AbstractContextManager[None]:
        """A context in which the weights are on the device."""
        return self.model.weights.present()

    def changes(self, sites: Sequence[InputSite], size: tuple[int, int]) -> Mapping[str, InputChange]:
        """The change of each linear layer, by the layer's name, for a latent of this height and width."""
        seen, found = self.seen(*size), {}
        for site in sites:
            name = flat(site.name)
            if name in seen:
                change = partial(self.model.network[name], seen[name])
                found[site.name] = InputChange(self.model.blocks[site.block], change)
        return found

    def seen(self, height: int, width: int) -> Mapping[str, Tensor]:
        """The map's part of each layer's `mid`, by the layer's name, for a latent of this size."""
        network, size = self.model.network, (width * LATENT_FACTOR, height * LATENT_FACTOR)
        like = self.model.weights.like

        def computed() -> dict[str, Tensor]:
            hint = (self.map.pixels(*size, self.model.map_channels) * 2 - 1).to(like)
            with self.model.weights.present():
                return {name: layer.seen(hint) for name, layer in network.items()}

        key = ("lllite", *self.model.origin, like.dtype, like.device, *self.map.key(*size))
        found: Mapping[str, Tensor] = self.map.kept(key, computed)
        return found


def flat(name: str) -> str:
    """A layer's name in kohya's files, with `_` for `.`."""
    return name.replace(".", "_")


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> dict[str, LLLiteLayer]:
    """The layers of an LLLite file. Raises ModelError if the file is broken."""
    tensors = _layer_tensors(read_tensors(path), path.stem)
    names = dict.fromkeys(key.partition(".")[0] for key in tensors)
    try:
        with torch.device("meta"):
            layers = {name: _layer(name, tensors) for name in names}
            network = nn.ModuleDict(layers)
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"'{path.stem}' is an incomplete ControlNet-LLLite: {error}") from error
    fill(network, tensors, path.stem, device, dtype)
    return layers


def _layer_tensors(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors without kohya's prefix. Raises ModelError for a key that no LLLite has."""
    found = {}
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise ModelError(f"'{name}' is an unknown kind of ControlNet-LLLite: it has a key {key[:80]!r}")
        found[".".join(match.groups())] = value
    return found


def _layer(name: str, tensors: Mapping[str, Tensor]) -> LLLiteLayer:
    """A layer on the meta device, from its tensors' shapes; strides are equal to kernel sizes.

    Raises KeyError, IndexError or ValueError.
    """
    keys = [f"{name}.conditioning1.{number}.weight" for number in (0, 2, 4)]
    kernels = [tensors[key] for key in keys if key in tensors]
    if not kernels or any(kernel.ndim != 4 or 0 in kernel.shape for kernel in kernels):
        raise ValueError(f"{name} has no convolutions that encode the control map")
    convolutions = [
        nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride=kernel.shape[2])
        for kernel in kernels
    ]
    map_channels(kernels[0], "ControlNet-LLLite")
    if math.prod(kernel.shape[2] for kernel in kernels) not in STRIDES:
        raise ValueError(
            f"the convolutions of {name} do not shrink the control map to the size of a U-Net level"
        )
    middle, width = tensors[f"{name}.down.0.weight"].shape[:2]
    return LLLiteLayer(convolutions, width, kernels[-1].shape[0], middle)


def _require_site(name: str, layer: LLLiteLayer, site: InputSite | None, target: Target, file: str) -> None:
    """Raise ModelError unless the U-Net has a linear layer of this name and width."""
    width = layer.down[0].in_features
    if site is None or site.width != width:
        has = (
            f"has this layer with width {site.width}" if site else "has no such layer that reads the picture"
        )
        raise ModelError(
            f"'{file}' is for SDXL and changes a layer {name} of width {width}; "
            f"the loaded checkpoint is {target.shape.family} and {has}"
        )
