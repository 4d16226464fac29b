"""Builds diffusers' `T2IAdapter` from a file; the configuration is read from the shapes of its tensors.

Mou et al. 2023, T2I-Adapter: Learning Adapters to Dig out More Controllable Ability.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import T2IAdapter as T2INetwork
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes, bare_shapes, first_size, strip_prefix
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.unet.call import FeaturePlace
from lib_ctrlgen.unet.family import Family

Tensors = Mapping[str, Tensor]

BLOCKS_PER_LEVEL = 2  # of the original full adapters; the keys of light adapters contain the level
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
    """Map TencentARC's names to diffusers' (without `adapter.`), and all other names to themselves.

    >>> original_names(["conv_in.bias", "conv_in.weight", "body.3.block1.bias"])["body.3.block1.bias"]
    'body.1.resnets.1.block1.bias'
    >>> original_names(["body.1.body.2.block1.bias"])
    {'body.1.body.2.block1.bias': 'body.1.resnets.2.block1.bias'}
    """
    names = list(keys)
    plain = "conv_in.weight" in names and not any(".resnets." in key for key in names)
    return {key: _full(key) if plain else LIGHT.sub(r"body.\1.resnets.\2.\3", key) for key in names}


def _full(key: str) -> str:
    """Diffusers' name of a tensor of an original full adapter, whose blocks are numbered across levels."""
    match = FULL.fullmatch(key)
    if match is None:
        return key
    level, block = divmod(int(match[1]), BLOCKS_PER_LEVEL)
    inside = f"resnets.{block}.{match[2]}" if match[2].startswith("block") else match[2]
    return f"body.{level}.{inside}.{match[3]}"


def configuration(tensors: Tensors) -> dict[str, Any]:
    """The arguments of `T2IAdapter`, from the tensors' shapes. Raises KeyError, IndexError, ModelError."""
    factor, inputs, _ = t2i_channels({key: tuple(value.shape) for key, value in tensors.items()})
    levels = range(_count(tensors, r"body\.(\d+)\."))
    if "conv_in.weight" in tensors:
        kind = "full_adapter_xl" if factor > 8 else "full_adapter"
        channels = [tensors[f"body.{i}.resnets.0.block1.weight"].shape[0] for i in levels]
    else:  # diffusers does not list the last level, which is as wide as the one before
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
    """The channels and the stride (latent cells per cell) of each feature that the network returns."""
    channels = list(network.config.channels)
    kind = network.config.adapter_type
    if kind == "light_adapter":
        channels.append(channels[-1])
    strides = [min(2 ** (1 + i // 2), 4) if kind == "full_adapter_xl" else 2**i for i in range(len(channels))]
    return tuple(FeaturePlace(*each) for each in zip(channels, strides, strict=True))


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number that the pattern's group matches; 0 if nothing matches."""
    matcher = re.compile(pattern)
    return max((int(match[1]) + 1 for key in tensors if (match := matcher.match(key))), default=0)


def t2i_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of a T2I-Adapter's file, None for other files. Raises ModelError for a broken one."""
    return _t2i_diffusers(shapes) or _t2i_ldm(shapes)


def _t2i_diffusers(shapes: Shapes) -> ModelKind | None:
    if "adapter.body.0.resnets.0.block1.weight" not in shapes:
        return None
    return _t2i_kind(bare_shapes(shapes), "diffusers")


def _t2i_ldm(shapes: Shapes) -> ModelKind | None:
    bare = bare_shapes(shapes)
    if "style_embedding" in bare:
        return None
    full = "conv_in.weight" in bare and any(key.startswith("body.") for key in bare)
    return _t2i_kind(bare, "ldm") if full or "body.0.in_conv.weight" in bare else None


def _t2i_kind(bare: Shapes, layout: Literal["ldm", "diffusers"]) -> ModelKind:
    factor, _, width = t2i_channels(bare)
    family = _T2I_FAMILIES.get((factor, width), Family("custom", 0))
    variant = "full" if "conv_in.weight" in bare else "light"
    return ModelKind(control="t2i_adapter", layout=layout, family=family, variant=variant)


def t2i_channels(bare: Shapes) -> tuple[int, int, int]:
    """The pixels per cell of a T2I-Adapter's input, its channels per pixel, and the first level's width.

    The first convolution reads whole cells. Raises ModelError unless its channels are those of a published
    adapter.
    """
    full = "conv_in.weight" in bare
    first, out = ("conv_in.weight",) * 2 if full else ("body.0.in_conv.weight", "body.0.out_conv.weight")
    shape, width = bare.get(first, ()), first_size(bare, out)
    if len(shape) != 4 or shape[1] not in _T2I_INPUTS or not width:
        raise ModelError(f"looks like a T2I-Adapter, but its {first} {tuple(shape)} does not read pictures")
    factor, channels = _T2I_INPUTS[shape[1]]
    if factor == 16 and not full:
        raise ModelError("looks like a light T2I-Adapter for SDXL, a kind that was never published")
    return factor, channels, width


# By the input channels of the first convolution: pixels per cell (8, for SDXL 16) along a side, and channels.
_T2I_INPUTS = {64: (8, 1), 192: (8, 3), 256: (16, 1), 768: (16, 3)}


_T2I_FAMILIES = {(8, 320): Family.of(768), (16, 320): Family.of(2048)}
