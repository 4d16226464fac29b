"""Reading an IP-Adapter file: its head, its keys and values, and the LoRA of FaceID."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.clip_vision import Feature
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors

from .heads import PERCEIVER, head_of
from .lora import AttentionLora, load_lora
from .shapes import Tensors, under, width_of

LAYER = re.compile(r"ip_adapter\.(\d+)\.to_k_ip\.weight")
IMAGE = "image_proj."


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
    """An IP-Adapter's parts: the head that makes image tokens, and to_k, to_v [hidden, X] per layer.

    `feature` says what the head reads from the vision tower, and `width` its channels; 0 for a head that
    reads a face's embedding alone. `lora` is that of a FaceID file.
    """

    projection: Any
    layers: AdapterLayers
    weights: Weights
    feature: Feature
    width: int
    lora: AttentionLora | None = None


def stored_adapter(path: Path, store: ModelStore, placement: Placement) -> AdapterWeights:
    """An adapter from the store's cache, or read. Raises ModelError."""

    def load_ip_adapter(path: Path) -> AdapterWeights:
        return load_adapter(path, placement)

    return store.get(path, load_ip_adapter, placement)


def stored_head(path: Path, store: ModelStore, placement: Placement) -> AdapterWeights:
    """An adapter without its layers, from the store's cache, or read. Raises ModelError."""

    def load_ip_adapter_head(path: Path) -> AdapterWeights:
        return load_adapter(path, placement, head_only=True)

    return store.get(path, load_ip_adapter_head, placement)


def load_adapter(path: Path, placement: Placement, *, head_only: bool = False) -> AdapterWeights:
    """Read the file, or its head alone. Raises ModelError when a part is missing or has another shape."""
    tensors = read_tensors(path)
    tensors = {key: value for key, value in tensors.items() if key.startswith(IMAGE) or not head_only}
    device, dtype = placement.home, placement.dtype
    try:
        projection = load_head(under(tensors, IMAGE), path.stem, placement)
        numbers = sorted(int(match[1]) for key in tensors if (match := LAYER.fullmatch(key)))
        layers = AdapterLayers([_layer(tensors, number, device, dtype) for number in numbers])
        feature, width = _input(under(tensors, IMAGE))
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path.stem}' is not a complete IP-Adapter: {_first_line(error)}") from error
    return AdapterWeights(
        projection=projection,
        layers=layers,
        weights=placed([projection, layers], placement, path.stem),
        feature=feature,
        width=width,
        lora=load_lora(tensors, placement, path.stem),
    )


def load_head(image: Tensors, name: str, placement: Placement) -> Any:
    """The head of the tensors `image_proj.*`, named without that prefix; in evaluation mode.

    Raises ModelError for missing, unknown or misshapen tensors, or an error of `head_of`.
    """
    with torch.device("meta"):
        head = head_of(image)
    fill(head, image, name, placement.home, placement.dtype)
    return head


def _input(image: Tensors) -> tuple[Feature, int]:
    """What a head reads from the vision tower, and its channels."""
    if "proj.weight" in image:
        return "pooled", width_of(image, "proj.weight")
    if "latents" in image:
        return "penultimate", width_of(image, "proj_in.weight")
    if "proj.3.weight" in image:
        return "penultimate", width_of(image, "proj.0.weight")
    seen = f"{PERCEIVER}proj_in.weight"
    return "penultimate", width_of(image, seen) if seen in image else 0


def _layer(tensors: Tensors, number: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    keys = tensors[f"ip_adapter.{number}.to_k_ip.weight"].to(device, dtype)
    values = tensors[f"ip_adapter.{number}.to_v_ip.weight"].to(device, dtype)
    if keys.ndim != 2 or keys.shape != values.shape:
        raise ValueError(f"layer {number} has keys {tuple(keys.shape)} and values {tuple(values.shape)}")
    return keys, values


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
