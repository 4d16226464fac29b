"""The usual names of a model's tensors where training tools saved them under other ones.

What is undone: the prefixes of torch's wrappers, prefixes before a network that was part of a larger one,
counters beside the weights, and the layout of IP-Adapter's training (tencent-ailab).

>>> usual_names({"module._orig_mod.conv_in.weight": (4, 4), "global_step": ()})
{'conv_in.weight': 'module._orig_mod.conv_in.weight'}
>>> usual_names({"image_proj_model.norm.bias": (4,), "adapter_modules.1.to_k_ip.weight": (4, 4)})
{'image_proj.norm.bias': 'image_proj_model.norm.bias', 'ip_adapter.1.to_k_ip.weight': 'adapter_modules.1.to_k_ip.weight'}
"""  # noqa: E501 - one line of a doctest

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

COUNTERS = frozenset({"global_step", "epoch", "step", "steps", "iteration", "num_updates", "decay"})
_COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile
_PARALLEL = "module."  # DataParallel, DistributedDataParallel
# a tensor that a network has under exactly this name; what stands before it was put there by a larger one
_MARKERS = (
    "controlnet_cond_embedding.conv_in.weight",
    "adapter.body.0.resnets.0.block1.weight",
)
_PROJECTION = "image_proj_model."
_ADAPTERS = "adapter_modules."
_PROCESSOR = re.compile(
    r"unet\.(?P<place>(?P<part>down_blocks|up_blocks|mid_block)\..*attn2)\.processor\.(?P<leaf>to_[kv]_ip\.weight)"
)
_ORDER = ("down_blocks", "up_blocks", "mid_block")  # of diffusers' attention processors


def usual_names(shapes: Shapes) -> dict[str, str]:
    """The usual name of each tensor that belongs to the model, with its name in the file."""
    names, former = {key: key for key in shapes}, None
    while names.keys() != former:
        former = names.keys()
        names = {key: old for key, old in names.items() if not _counts(key, shapes[old])}
        names = _without_owner(_unwrapped(names))
    return _trained_adapter(names) if any(key.startswith(_PROJECTION) for key in names) else names


def _counts(key: str, shape: tuple[int, ...]) -> bool:
    return key in COUNTERS and math.prod(shape) <= 1


def _unwrapped(names: Mapping[str, str]) -> dict[str, str]:
    """The names without what torch's wrappers put into them."""
    found = {_COMPILED.sub(r"\1", key): old for key, old in names.items()}
    wrapped = all(key.startswith(_PARALLEL) for key in found)
    return {key.removeprefix(_PARALLEL): old for key, old in found.items()} if wrapped else found


def _without_owner(names: Mapping[str, str]) -> dict[str, str]:
    """The tensors of the one network that stands behind a prefix; all of them where there is none."""
    prefixes = {key.removesuffix(marker) for key in names for marker in _MARKERS if key.endswith(marker)}
    if len(prefixes) != 1 or "" in prefixes:
        return dict(names)
    (prefix,) = prefixes
    return {key.removeprefix(prefix): old for key, old in names.items() if key.startswith(prefix)}


def _trained_adapter(names: Mapping[str, str]) -> dict[str, str]:
    """The projection and the adapter's layers; the frozen U-Net beside them is left out.

    A saving that drops shared tensors (accelerate's, to safetensors) leaves the layers in the U-Net's
    attention processors alone. Layer i of these has the number 2 i + 1, as among all processors.
    """
    found = {f"image_proj.{rest}": old for key, old in names.items() if (rest := _behind(key, _PROJECTION))}
    matches = [match for key in names if (match := _PROCESSOR.fullmatch(key))]
    order = {place: i for i, place in enumerate(sorted({_place(match) for match in matches}))}
    for match in matches:
        found[f"ip_adapter.{2 * order[_place(match)] + 1}.{match['leaf']}"] = names[match.string]
    own = {f"ip_adapter.{rest}": old for key, old in names.items() if (rest := _behind(key, _ADAPTERS))}
    return found | own


def _place(processor: re.Match[str]) -> tuple[int, ...]:
    """Sorts attention processors: the U-Net's part, then the numbers of block, attention and transformer."""
    *numbers, _attn2 = map(int, re.findall(r"\d+", processor["place"]))
    return _ORDER.index(processor["part"]), *numbers


def _behind(key: str, prefix: str) -> str:
    return key.removeprefix(prefix) if key.startswith(prefix) else ""
