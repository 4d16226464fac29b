"""Maps the names of tensors that training tools wrote to the published names of a model's tensors.

It removes prefixes of torch's wrappers, prefixes of a larger network that contains the model, and counters
that are stored beside the weights. It converts the layout of IP-Adapter's training code (tencent-ailab), whole or in part.

>>> usual_names({"module._orig_mod.conv_in.weight": (4, 4), "global_step": ()})
{'conv_in.weight': 'module._orig_mod.conv_in.weight'}
>>> usual_names({"image_proj_model.norm.bias": (4,), "adapter_modules.1.to_k_ip.weight": (4, 4)})
{'image_proj.norm.bias': 'image_proj_model.norm.bias', 'ip_adapter.1.to_k_ip.weight': 'adapter_modules.1.to_k_ip.weight'}
"""  # noqa: E501 - one line of a doctest

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from .kind import Shapes

COUNTERS = frozenset({"global_step", "epoch", "step", "steps", "iteration", "num_updates", "decay"})
_COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile
_PARALLEL = "module."  # DataParallel, DistributedDataParallel
# Tensors by which a network is recognised; the text before these names is the prefix of a larger network.
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
    """The name in the file of each tensor of the model, by its published name."""
    names, former = {key: key for key in shapes}, None
    while names.keys() != former:
        former = names.keys()
        names = {key: old for key, old in names.items() if not _counts(key, shapes[old])}
        names = _without_owner(_unwrapped(names))
    if any(key.startswith(_PROJECTION) for key in names):
        return _trained_adapter(names)
    return _adapter_modules(names) if any(key.startswith("image_proj.") for key in names) else names


def _adapter_modules(names: Mapping[str, str]) -> dict[str, str]:
    """The names of an IP-Adapter whose layers are still called as in training (NoobAI's, for one)."""
    return {
        f"ip_adapter.{rest}" if (rest := _behind(key, _ADAPTERS)) else key: old for key, old in names.items()
    }


def _counts(key: str, shape: tuple[int, ...]) -> bool:
    return key in COUNTERS and math.prod(shape) <= 1


def _unwrapped(names: Mapping[str, str]) -> dict[str, str]:
    """The names without the prefixes of `torch.compile` and of data parallel wrappers."""
    found = {_COMPILED.sub(r"\1", key): old for key, old in names.items()}
    wrapped = all(key.startswith(_PARALLEL) for key in found)
    return {key.removeprefix(_PARALLEL): old for key, old in found.items()} if wrapped else found


def _without_owner(names: Mapping[str, str]) -> dict[str, str]:
    """The tensors of the network inside a larger one, without its prefix; all if there is no prefix."""
    prefixes = {key.removesuffix(marker) for key in names for marker in _MARKERS if key.endswith(marker)}
    if len(prefixes) != 1 or "" in prefixes:
        return dict(names)
    (prefix,) = prefixes
    return {key.removeprefix(prefix): old for key, old in names.items() if key.startswith(prefix)}


def _trained_adapter(names: Mapping[str, str]) -> dict[str, str]:
    """The image projection and the adapter's layers, without the frozen U-Net that was saved with them.

    When accelerate saves to safetensors, it drops shared tensors, so the layers are only in the U-Net's
    attention processors. Layer i of the cross attentions is processor 2 i + 1 of all.
    """
    found = {f"image_proj.{rest}": old for key, old in names.items() if (rest := _behind(key, _PROJECTION))}
    matches = [match for key in names if (match := _PROCESSOR.fullmatch(key))]
    order = {place: i for i, place in enumerate(sorted({_place(match) for match in matches}))}
    for match in matches:
        found[f"ip_adapter.{2 * order[_place(match)] + 1}.{match['leaf']}"] = names[match.string]
    own = {f"ip_adapter.{rest}": old for key, old in names.items() if (rest := _behind(key, _ADAPTERS))}
    return found | own


def _place(processor: re.Match[str]) -> tuple[int, ...]:
    """A sort key for attention processors: part of the U-Net, then block, attention and transformer."""
    *numbers, _attn2 = map(int, re.findall(r"\d+", processor["place"]))
    return _ORDER.index(processor["part"]), *numbers


def _behind(key: str, prefix: str) -> str:
    return key.removeprefix(prefix) if key.startswith(prefix) else ""
