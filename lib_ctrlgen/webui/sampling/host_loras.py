"""What CtrlGen uses of the WebUI's built-in extension Lora: its files by name, and its loaded networks.

The extension's module is found in `sys.modules`, because it is no package that could be imported by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError, WrongModelError, nearest

EXTENSION = "networks"
BACKUP = "network_weights_backup"  # the attribute of a layer with its weight before the WebUI merged LoRAs
OFF = (
    "the prompt has a LoRA with a schedule, and the WebUI's extension Lora is off: switch it on in the tab "
    "Extensions, or remove the tag"
)


def host_extension() -> Any:
    """The extension's module `networks`. Raises HostError if it is off."""
    found = sys.modules.get(EXTENSION)
    if found is None or not hasattr(found, "available_network_aliases"):
        raise HostError(OFF)
    return found


def lora_path(name: str) -> Path:
    """The file of a LoRA by the name or alias that the WebUI accepts. Raises WrongModelError."""
    extension = host_extension()
    found = _on_disk(extension, name)
    if found is None:
        extension.list_available_networks()
        found = _on_disk(extension, name)
    if found is None:
        known = [*extension.available_networks, *extension.available_network_aliases]
        raise WrongModelError(f"no LoRA named {name!r}; {nearest(name, dict.fromkeys(known))}")
    return Path(found.filename)


def _on_disk(extension: Any, name: str) -> Any:
    """The WebUI's entry for a name; an alias that several files share finds none."""
    if name.lower() in extension.forbidden_network_aliases:
        return extension.available_networks.get(name)
    return extension.available_network_aliases.get(name)


def loaded_networks() -> Iterator[Any]:
    """The networks that the prompt has loaded; none without the extension."""
    yield from getattr(sys.modules.get(EXTENSION), "loaded_networks", ())


@contextmanager
def text_weights(weights: Mapping[str, float]) -> Iterator[None]:
    """Give loaded networks other weights in the text encoders, by the names that the prompt has for them.

    The extension merges them at the next call of a text encoder, and merges the former ones at the next call
    after the end.
    """
    changed = [(net, net.te_multiplier) for net in loaded_networks() if net.mentioned_name in weights]
    for net, _ in changed:
        net.te_multiplier = weights[net.mentioned_name]
    try:
        yield
    finally:
        for net, former in changed:
            net.te_multiplier = former


def own_weight(layer: nn.Module) -> Tensor:
    """The weight of a layer without the LoRAs that the WebUI merged into it. Raises HostError without one."""
    backup, weight = getattr(layer, BACKUP, None), layer.weight
    if not isinstance(weight, Tensor):
        raise HostError(f"a {type(layer).__name__} of the U-Net has no weight")
    return backup.to(weight.device) if isinstance(backup, torch.Tensor) else weight
