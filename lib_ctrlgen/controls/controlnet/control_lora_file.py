"""Builds a ControlLoRA's network from a file with `name.up` and `name.down` instead of `name.weight`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.unet.call import UNetShape

from .file import configuration, diffusers_tensors, require_channels

MARKER = "lora_controlnet"


class LowRankLinear(nn.Module):
    """A linear layer `W x + up (down x) + b`: x [..., in], down [R, in], up [out, R].

    The product `up down` is never computed.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.up = nn.Parameter(layer.weight.new_empty(layer.out_features, rank))
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., out] for x [..., in]."""
        low = functional.linear(functional.linear(x, self.down), self.up)
        return functional.linear(x, self.weight.to(x), _like(self.bias, x)) + low


class LowRankConv2d(nn.Module):
    """A convolution with low-rank factors: down [R, in, k, k] has its stride, up [out, R, 1, 1] stride 1."""

    def __init__(self, layer: nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(layer.weight.new_empty(rank, *layer.weight.shape[1:]))
        self.up = nn.Parameter(layer.weight.new_empty(layer.out_channels, rank, 1, 1))
        self.weight, self.bias = layer.weight, layer.bias
        self.place: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [B, out, h', w'] for x [B, in, h, w]."""
        low = functional.conv2d(functional.conv2d(x, self.down, **self.place), self.up)
        return functional.conv2d(x, self.weight.to(x), _like(self.bias, x), **self.place) + low


def _like(bias: Tensor | None, x: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(x)


def load_network(path: Path, shape: UNetShape, device: torch.device, dtype: torch.dtype) -> Any:
    """The network of a ControlLoRA file; parameters that the U-Net will provide stay on the meta device.

    Raises ModelError if the file is broken or does not fit the U-Net.
    """
    tensors = network_tensors(read_tensors(path))
    network = build_network(tensors, shape, path.stem)
    borrowed = _borrowed(name for name, _ in network.named_parameters() if name not in tensors)
    fill(network, tensors, path.stem, device, dtype, borrowed)
    return network


def build_network(tensors: Mapping[str, Tensor], shape: UNetShape, name: str) -> Any:
    """The network for these tensors, on the meta device. Raises ModelError."""
    try:
        weights = _weights(tensors)
        require_channels(weights, shape)
        config = configuration(weights, shape) | _vector(weights)
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"'{name}' is an incomplete ControlLoRA: {error}") from error
    with torch.device("meta"):
        network = ControlNetModel(**config)
        ranks = {key.removesuffix(".up"): value.shape[1] for key, value in tensors.items() if _is_up(key)}
        _add_low_rank(network, ranks, name)
    return network


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the names of `ControlNetModel`."""
    named = diffusers_tensors(tensors).items()
    return {key.replace("add_embedding.", "class_embedding."): v for key, v in named if key != MARKER}


def _is_up(key: str) -> bool:
    return key.endswith(".up")


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with an empty meta tensor of the product's shape for each pair of factors.

    Raises KeyError for a missing factor, and ValueError for factors that do not fit together.
    """
    found = {key: value for key, value in tensors.items() if not key.endswith((".up", ".down"))}
    for key in filter(_is_up, tensors):
        name = key.removesuffix(".up")
        up, down = tensors[key], tensors[f"{name}.down"]
        if up.ndim not in {2, 4} or up.ndim != down.ndim:
            raise ValueError(f"{name} has factors of shapes {tuple(up.shape)} and {tuple(down.shape)}")
        found[f"{name}.weight"] = torch.empty(up.shape[0], *down.shape[1:], device="meta")
    return found


def _vector(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments with which diffusers takes SDXL's vector directly, as a projected class embedding."""
    weight = weights.get("class_embedding.linear_1.weight")
    if weight is None:
        return {}
    return {"class_embed_type": "projection", "projection_class_embeddings_input_dim": weight.shape[1]}


def _add_low_rank(network: nn.Module, ranks: Mapping[str, int], name: str) -> None:
    """Replace each layer that has factors in the file by a low-rank layer. Raises ModelError."""
    layers = dict(network.named_modules())
    for key, rank in ranks.items():
        layer, (parent, _, leaf) = layers.get(key), key.rpartition(".")
        if isinstance(layer, nn.Linear):
            setattr(layers[parent], leaf, LowRankLinear(layer, rank))
        elif isinstance(layer, nn.Conv2d):
            setattr(layers[parent], leaf, LowRankConv2d(layer, rank))
        else:
            raise ModelError(f"'{name}' does not fit its architecture: unknown {key}.up")


def _borrowed(names: Iterable[str]) -> frozenset[str]:
    """The parameters that the U-Net has, too: all but the hint encoder, the zero convolutions and factors."""
    own = (".up", ".down")
    return frozenset(n for n in names if not n.startswith("controlnet_") and not n.endswith(own))
