"""Attributes of a generation, such as `p.control_net_weight`, by which scripts replace fields of units.

As in sd-webui-controlnet they are read only with the setting `control_net_allow_script_control`. A value is
for all units, a list has one value for each unit; None leaves the unit's field as it is.
sd-webui-segment-anything sets them, and so does CtrlGen for the X/Y/Z plot, which needs no setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from modules import shared

from .unit import ControlNetUnit

SETTING = "control_net_allow_script_control"
PLOT = "ctrlgen_script_control"  # set by `lib_ctrlgen.webui.xyz_axes` for a cell of the plot
# The field of each attribute; where two have the same field, the later one wins.
FIELDS = {
    "enabled": "enabled",
    "module": "module",
    "model": "model",
    "weight": "weight",
    "image": "image",
    "input_image": "image",
    "resize_mode": "resize_mode",
    "lowvram": "low_vram",
    "pres": "processor_res",
    "pthr_a": "threshold_a",
    "pthr_b": "threshold_b",
    "guidance_start": "guidance_start",
    "guidance_end": "guidance_end",
    "guidance_strength": "guidance_end",
    "control_mode": "control_mode",
    "pixel_perfect": "pixel_perfect",
}
FIRST_ALONE = "enabled"  # a value that is no list is for the first unit alone


def with_remote_values(p: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The units among a script's arguments with the values of the generation's attributes.

    Without any unit, the values are those of one unit. The given units are not changed.
    """
    given = {name: getattr(p, f"control_net_{name}", None) for name in FIELDS}
    given = {name: value for name, value in given.items() if value is not None}
    units = [unit for unit in arguments if unit is not None]
    allowed = shared.opts.data.get(SETTING, False)
    if not given or not (allowed or (units and getattr(p, PLOT, False))):
        return tuple(arguments)
    units = units or [ControlNetUnit()]
    return tuple(changed(unit, values_of(given, place)) for place, unit in enumerate(units))


def values_of(given: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The values by field for the unit at a place."""
    found = {FIELDS[name]: value_at(name, value, place) for name, value in given.items()}
    return {name: value for name, value in found.items() if value is not None}


def value_at(name: str, value: Any, place: int) -> Any:
    """An attribute's value for the unit at a place, None if it has none."""
    if not isinstance(value, list):
        return value if name != FIRST_ALONE or place == 0 else None
    return value[place] if place < len(value) else None


def changed(unit: Any, values: Mapping[str, Any]) -> Any:
    """A unit, a dict or an object, with other values of some fields."""
    if isinstance(unit, Mapping):
        return {**unit, **values}
    made = copy(unit)
    for name, value in values.items():
        setattr(made, name, value)
    return made
