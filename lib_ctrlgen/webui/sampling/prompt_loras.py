"""Leaves out a FaceID file's own LoRA where the prompt has loaded the same one with `<lora:...>`.

The companion file of a FaceID adapter holds the tensors that are in the adapter too. Applied twice they would
act twice as strongly. The one in the prompt stays, because it is the one that the user wrote a weight for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lib_ctrlgen.controls.ip_adapter.face_adapter import FaceIDUnit
from lib_ctrlgen.controls.ip_adapter.lora import same_tensor
from lib_ctrlgen.controls.params import LORA_WEIGHT
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.notices import Notices

EXTENSION = "networks"  # the module of the WebUI's built-in extension Lora
COMPANION = re.compile(r"face[ _.-]?id.*lora", re.IGNORECASE)


def each_lora_once(units: Sequence[ActiveUnit], notices: Notices) -> tuple[ActiveUnit, ...]:
    """The units, without the LoRAs that the prompt has loaded too; a notice says which one acts."""
    return tuple(_checked(unit, notices) for unit in units)


def _checked(unit: ActiveUnit, notices: Notices) -> ActiveUnit:
    if not isinstance(unit.control, FaceIDUnit):
        return unit
    name = next((net.name for net in loaded_networks() if is_companion(net, unit.control)), None)
    if name is None:
        return unit
    notices.add(
        f"{unit.path}.params.{LORA_WEIGHT.name}",
        f"the prompt's <lora:{name}> is the LoRA in this adapter's file: it acts once, with the weight that "
        "the prompt gives it",
    )
    return replace(unit, control=unit.control.without_lora())


def loaded_networks() -> Iterator[Any]:
    """The networks that the prompt has loaded and that act on the U-Net; none without the extension."""
    extension = sys.modules.get(EXTENSION)
    for net in getattr(extension, "loaded_networks", ()):
        if getattr(net, "unet_multiplier", 1.0):
            yield net


def is_companion(net: Any, control: FaceIDUnit) -> bool:
    """Whether a network holds the adapter's LoRA: by its tensors, or, where it shows none, by its name."""
    downs = list(_downs(net))
    return same_tensor(control.lora, downs) if downs else bool(COMPANION.search(str(net.name)))


def _downs(net: Any) -> Iterator[Tensor]:
    """The matrices [rank, in] of a network's layers."""
    for module in getattr(net, "modules", {}).values():
        weight = getattr(getattr(module, "down_model", None), "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2:
            yield weight
