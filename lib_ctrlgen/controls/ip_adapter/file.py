"""Reading an IP-Adapter file: its projection (diffusers' modules) and its keys and values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.clip_vision import Feature
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.tensor_files import read_tensors

Tensors = Mapping[str, Tensor]

LAYER = re.compile(r"ip_adapter\.(\d+)\.to_k_ip\.weight")


class AdapterLayers(nn.Module):
    """Keys and values [hidden, X] of each layer."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.key_weights = nn.ParameterList([keys for keys, _ in pairs])
        self.value_weights = nn.ParameterList([values for _, values in pairs])
        self.requires_grad_(requires_grad=False)

    def __len__(self) -> int:
        return len(self.key_weights)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.key_weights, self.value_weights, strict=True)


@dataclass(frozen=True, kw_only=True)
class AdapterWeights:
    """An IP-Adapter's parts: the projection to image tokens, and to_k, to_v [hidden, X] per layer.

    `feature` says what the projection reads from the vision tower, and `width` its channels.
    """

    projection: Any
    layers: AdapterLayers
    weights: Weights
    feature: Feature
    width: int


def load_adapter(path: Path, placement: Placement) -> AdapterWeights:
    """Read the file. Raises ModelError when a part is missing or has another shape."""
    tensors = read_tensors(path)
    image = {
        key.removeprefix("image_proj."): value
        for key, value in tensors.items()
        if key.startswith("image_proj.")
    }
    device, dtype = placement.home, placement.dtype
    try:
        projection = (
            _plain(image, path.stem, device, dtype)
            if "proj.weight" in image
            else converted(image, device, dtype)
        )
        numbers = sorted(int(match[1]) for key in tensors if (match := LAYER.fullmatch(key)))
        layers = AdapterLayers([_layer(tensors, number, device, dtype) for number in numbers])
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path.stem}' is not a complete IP-Adapter: {_first_line(error)}") from error
    projection.requires_grad_(requires_grad=False)
    feature, width = _input(image)
    projection = projection.eval().to(device=device, dtype=dtype)
    return AdapterWeights(
        projection=projection,
        layers=layers,
        weights=placed([projection, layers], placement, path.stem),
        feature=feature,
        width=width,
    )


def _input(image: Tensors) -> tuple[Feature, int]:
    if "proj.weight" in image:
        return "pooled", image["proj.weight"].shape[1]
    first = image["proj_in.weight"] if "proj_in.weight" in image else image["proj.0.weight"]
    return "penultimate", first.shape[1]


def _plain(image: Tensors, name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A linear layer to a few tokens, then a layer norm."""
    tokens_width, embed = image["proj.weight"].shape
    width = image["norm.weight"].shape[0]
    with torch.device("meta"):
        projection = ImageProjection(embed, width, tokens_width // width)
    named = {key.replace("proj.", "image_embeds."): value for key, value in image.items()}
    fill(projection, named, name, device, dtype)
    return projection


def converted(image: Tensors, device: torch.device, dtype: torch.dtype) -> Any:
    """The other projections through diffusers' converter: private, the same from 0.31 to 0.42."""
    convert = UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
    return convert(SimpleNamespace(device=device, dtype=dtype), dict(image), low_cpu_mem_usage=False)


def _layer(tensors: Tensors, number: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    keys = tensors[f"ip_adapter.{number}.to_k_ip.weight"].to(device, dtype)
    values = tensors[f"ip_adapter.{number}.to_v_ip.weight"].to(device, dtype)
    if keys.ndim != 2 or keys.shape != values.shape:
        raise ValueError(f"layer {number} has keys {tuple(keys.shape)} and values {tuple(values.shape)}")
    return keys, values


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
