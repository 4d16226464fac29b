"""Building diffusers' `T2IAdapter` from a file alone: the configuration comes from the shapes.

Mou et al. 2023, T2I-Adapter: Learning Adapters to Dig out More Controllable Ability.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import T2IAdapter as T2INetwork
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import strip_prefix, t2i_channels
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.unet.call import FeaturePlace

Tensors = Mapping[str, Tensor]

BLOCKS_PER_LEVEL = 2  # of the original full adapters; light ones say it in their keys
FULL = re.compile(r"body\.(\d+)\.(block[12]|in_conv)\.(weight|bias)")
LIGHT = re.compile(r"body\.(\d+)\.body\.(\d+)\.(.*)")


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The network of a T2I-Adapter file in either layout, in evaluation mode.

    Raises ModelError when the file is broken.
    """
    tensors = diffusers_tensors(read_tensors(path))
    try:
        config = configuration(tensors)
    except (KeyError, IndexError) as error:
        raise ModelError(f"'{path.stem}' is an incomplete T2I-Adapter: {error}") from error
    with torch.device("meta"):
        network = T2INetwork(**config)
    named = {f"adapter.{key}": value for key, value in tensors.items()}
    fill(network, named, path.stem, device, dtype)
    return network


def diffusers_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """The adapter's tensors under diffusers' names without `adapter.`, from either layout."""
    prefix = strip_prefix(tensors)
    bare = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    names = original_names(bare)
    return {names[key]: value for key, value in bare.items()}


def original_names(keys: Iterable[str]) -> dict[str, str]:
    """Map TencentARC's names to diffusers' (without `adapter.`); others to themselves.

    >>> original_names(["conv_in.bias", "conv_in.weight", "body.3.block1.bias"])["body.3.block1.bias"]
    'body.1.resnets.1.block1.bias'
    >>> original_names(["body.1.body.2.block1.bias"])
    {'body.1.body.2.block1.bias': 'body.1.resnets.2.block1.bias'}
    """
    names = list(keys)
    plain = "conv_in.weight" in names and not any(".resnets." in key for key in names)
    return {key: _full(key) if plain else LIGHT.sub(r"body.\1.resnets.\2.\3", key) for key in names}


def _full(key: str) -> str:
    """The original full adapter numbers its blocks through."""
    match = FULL.fullmatch(key)
    if match is None:
        return key
    level, block = divmod(int(match[1]), BLOCKS_PER_LEVEL)
    inside = f"resnets.{block}.{match[2]}" if match[2].startswith("block") else match[2]
    return f"body.{level}.{inside}.{match[3]}"


def configuration(tensors: Tensors) -> dict[str, Any]:
    """The arguments of `T2IAdapter`, read off the tensors. Raises KeyError, IndexError, ModelError."""
    factor, inputs, _ = t2i_channels({key: tuple(value.shape) for key, value in tensors.items()})
    levels = range(_count(tensors, r"body\.(\d+)\."))
    if "conv_in.weight" in tensors:
        kind = "full_adapter_xl" if factor > 8 else "full_adapter"
        channels = [tensors[f"body.{i}.resnets.0.block1.weight"].shape[0] for i in levels]
    else:  # its last level is as wide as the one before, and not listed
        kind = "light_adapter"
        channels = [tensors[f"body.{i}.out_conv.weight"].shape[0] for i in levels][:-1]
    if not channels:
        raise IndexError("it has no levels")
    return {
        "in_channels": inputs,
        "channels": channels,
        "num_res_blocks": _count(tensors, r"body\.0\.resnets\.(\d+)\."),
        "downscale_factor": factor,
        "adapter_type": kind,
    }


def feature_places(network: Any) -> tuple[FeaturePlace, ...]:
    """What the network gives: the channels of each feature, and latent cells per cell of it."""
    channels = list(network.config.channels)
    kind = network.config.adapter_type
    if kind == "light_adapter":
        channels.append(channels[-1])
    strides = [min(2 ** (1 + i // 2), 4) if kind == "full_adapter_xl" else 2**i for i in range(len(channels))]
    return tuple(FeaturePlace(*each) for each in zip(channels, strides, strict=True))


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number at the pattern's group; 0 when nothing matches."""
    matcher = re.compile(pattern)
    return max((int(match[1]) + 1 for key in tensors if (match := matcher.match(key))), default=0)
