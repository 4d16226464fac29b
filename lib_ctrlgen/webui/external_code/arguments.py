"""Finds the script titled "ControlNet" of a generation, and reads and replaces its units."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from modules import shared

from lib_ctrlgen.compat.settings import unit_count

from .unit import ControlNetUnit

logger = logging.getLogger("ctrlgen")
TITLE = "controlnet"
SCRIPT_LISTS = ("scripts", "alwayson_scripts", "selectable_scripts")


def get_max_models_num() -> int:
    """The number of units that the setting `control_net_unit_count` asks for."""
    return unit_count(shared.opts.data)


def is_cn_script(script: Any) -> bool:
    """Whether a script's title is "ControlNet", in any spelling of upper and lower case."""
    return bool(script.title().lower() == TITLE)


def find_cn_script(script_runner: Any) -> Any:
    """The always-on script titled "ControlNet" of a runner, None if it has none."""
    scripts = [] if script_runner is None else script_runner.alwayson_scripts
    return next((script for script in scripts if is_cn_script(script)), None)


def get_all_units_in_processing(p: Any) -> list[ControlNetUnit]:
    """The units of a generation."""
    return get_all_units(p.scripts, p.script_args)


def get_all_units(script_runner: Any, script_args: Sequence[Any]) -> list[ControlNetUnit]:
    """The units among the arguments of all scripts."""
    script = find_cn_script(script_runner)
    if script is None:
        return []
    return get_all_units_from(script_args[script.args_from : script.args_to])


def get_all_units_from(script_args: Sequence[Any]) -> list[ControlNetUnit]:
    """The units among the arguments of the ControlNet script; other values are left out."""
    found = [to_processing_unit(value) for value in script_args if is_unit(value)]
    others = [type(value).__name__ for value in script_args if value is not None and not is_unit(value)]
    if others and not found:
        logger.warning("no ControlNet unit among arguments of the types %s", ", ".join(sorted(set(others))))
    return found


def get_single_unit_from(script_args: Sequence[Any], index: int = 0) -> ControlNetUnit | None:
    """The unit at a place among the arguments, None past the end and where the argument is None."""
    value = script_args[index] if 0 <= index < len(script_args) else None
    return None if value is None else to_processing_unit(value)


def is_unit(value: Any) -> bool:
    """Whether a value is a unit, a unit of a REST body, or an object with all attributes of a unit."""
    if isinstance(value, (ControlNetUnit, dict)):
        return True
    return hasattr(value, "__dict__") and set(vars(ControlNetUnit())) <= set(vars(value))


def to_processing_unit(unit: Any) -> ControlNetUnit:
    """A unit itself, or one made of a dict or of an object with a unit's attributes. Raises TypeError."""
    if isinstance(unit, ControlNetUnit):
        return unit
    if isinstance(unit, Mapping):
        return ControlNetUnit.from_dict(unit)
    if not is_unit(unit):
        raise TypeError(f"a {type(unit).__name__} is no ControlNet unit: it lacks attributes of one")
    return ControlNetUnit(**{name: getattr(unit, name) for name in vars(ControlNetUnit())})


def update_cn_script_in_processing(p: Any, cn_units: Sequence[ControlNetUnit], **_ignored: Any) -> None:
    """Replace the units of a generation; `cn_units` is not changed. See `update_cn_script`.

    Where the places of scripts change, the generation gets copies of its scripts: the WebUI uses the same
    scripts in later generations, whose arguments are at the former places.
    """
    script = find_cn_script(p.scripts)
    if script is not None and len(padded(cn_units, script)) != script.args_to - script.args_from:
        runner = copy_of_runner(p.scripts)
        vars(p)["scripts_value" if "scripts_value" in vars(p) else "scripts"] = runner
    p.script_args = update_cn_script(p.scripts, p.script_args_value, cn_units)


def copy_of_runner(runner: Any) -> Any:
    """A copy of a script runner with copies of its scripts, each in all of the runner's lists."""
    made = copy(runner)
    lists = {name: value for name, value in vars(runner).items() if name in SCRIPT_LISTS}
    copies = {id(script): copy(script) for scripts in lists.values() for script in scripts}
    for name, scripts in lists.items():
        setattr(made, name, [copies[id(script)] for script in scripts])
    made.callback_map = {}  # the WebUI's cache of the scripts of each callback
    return made


def padded(cn_units: Sequence[ControlNetUnit], script: Any) -> list[ControlNetUnit]:
    """The units and disabled ones, at least as many as the setting says and as the script has arguments."""
    count = max(get_max_models_num(), script.args_to - script.args_from)
    return [*cn_units, *(ControlNetUnit() for _ in range(count - len(cn_units)))]


def update_cn_script(script_runner: Any, script_args: Any, cn_units: Sequence[ControlNetUnit]) -> Any:
    """The arguments of all scripts, a list or a tuple, with other units for the ControlNet script.

    Disabled units are added up to the number of `get_max_models_num` and to the number of the script's
    arguments. With more units than that, the end of the ControlNet script's place (`args_to`) and the places
    of all scripts with later arguments are moved. Equal arguments are returned if the runner has no
    ControlNet script, or if they end before its place.
    """
    changed = list(script_args)
    update_cn_script_in_place(script_runner, changed, cn_units)
    return type(script_args)(changed)


def update_cn_script_in_place(
    script_runner: Any, script_args: list[Any], cn_units: Sequence[ControlNetUnit], **_ignored: Any
) -> None:
    """The same in a list of arguments itself. Raises TypeError for a tuple."""
    if not isinstance(script_args, list):
        raise TypeError(f"the arguments are a {type(script_args).__name__}, and only a list can be changed")
    script = find_cn_script(script_runner)
    if script is None or len(script_args) < script.args_from:
        return
    units = padded(cn_units, script)
    start, end = script.args_from, script.args_to
    script_args[start:end] = units
    script.args_to = start + len(units)
    for other in scripts_of(script_runner):
        if other is not script and other.args_from is not None and other.args_from >= end:
            other.args_from += len(units) - (end - start)
            other.args_to += len(units) - (end - start)


def scripts_of(script_runner: Any) -> list[Any]:
    """All scripts of a runner, each once."""
    lists = [getattr(script_runner, name, ()) for name in SCRIPT_LISTS]
    return list({id(script): script for scripts in lists for script in scripts}.values())


__all__ = [
    "find_cn_script",
    "get_all_units",
    "get_all_units_from",
    "get_all_units_in_processing",
    "get_max_models_num",
    "get_single_unit_from",
    "is_cn_script",
    "to_processing_unit",
    "update_cn_script",
    "update_cn_script_in_place",
    "update_cn_script_in_processing",
]
