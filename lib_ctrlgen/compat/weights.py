"""The weights of a unit of sd-webui-controlnet, as a unit of CtrlGen has them."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.request.params import Value
from lib_ctrlgen.request.schedule import constant

from .unit import ControlNetUnit

IP_ADAPTERS = ("ip_adapter", "ip_adapter_face", "pulid")  # families that do not read `hr_option`


def weights_of(unit: ControlNetUnit, *, hires: bool, layers: bool) -> dict[str, Any]:
    """The fields `weight`, `hires` and `layer_weights`.

    `hires` is whether there are two passes, between which `hr_option` chooses. Weights of single layers take
    the place of the weight, and `layers` is whether they are a field of the unit (for IP-Adapters they are a
    parameter, see `layers_of`).
    """
    listed = unit.advanced_weighting is not None
    weight = 1.0 if listed else unit.weight
    fields: dict[str, Any] = {"weight": constant(weight)}
    if layers and unit.advanced_weighting is not None:
        fields["layer_weights"] = tuple(constant(each) for each in unit.advanced_weighting)
    if hires and unit.hr_option == "Low res only":
        fields["hires"] = constant(0.0)
    if hires and unit.hr_option == "High res only":
        fields |= {"weight": constant(0.0), "hires": constant(weight)}
    return fields


def layers_of(unit: ControlNetUnit) -> dict[str, Value]:
    """The parameter `layers` of an IP-Adapter with weights of single layers; negative ones count as 0.

    >>> layers_of(ControlNetUnit(advanced_weighting=(0.5, 0.0, -1.0, 1.0)))
    {'layers': '0:0.5, 3:1'}
    """
    if unit.advanced_weighting is None:
        return {}
    named = [f"{place}:{each:g}" for place, each in enumerate(unit.advanced_weighting) if each > 0]
    return {"layers": ", ".join(named)}
