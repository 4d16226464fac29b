"""The arguments of the script "ControlNet": how many there are, and those of a generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modules import shared

LEAST_UNITS = 10  # arguments, so that a client may send more units than the setting says
COUNT = "control_net_unit_count"
MARK = "takes_controlnet_units"  # the attribute of CtrlGen's script that has them


def controlnet_arguments(p: Any) -> tuple[Any, ...]:
    """The arguments of CtrlGen's script "ControlNet"; empty if there is no such script or all are empty."""
    script = next((each for each in always_on(p) if getattr(each, MARK, False)), None)
    if script is None or script.args_from is None:
        return ()
    found = tuple((getattr(p, "script_args", None) or ())[script.args_from : script.args_to])
    return found if any(not _is_empty(each) for each in found) else ()


def always_on(p: Any) -> Sequence[Any]:
    """The always-on scripts of a generation."""
    return tuple(getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or ())


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, dict)) and not value)


def argument_count() -> int:
    """The number of the script's arguments."""
    return max(LEAST_UNITS, unit_count())


def unit_count() -> int:
    """The number of units that sd-webui-controlnet's setting names, 3 without it."""
    given = shared.opts.data.get(COUNT, 3)
    return max(1, int(given)) if isinstance(given, (int, float)) else 3
