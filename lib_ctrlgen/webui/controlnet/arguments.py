"""Finds the arguments of the script "ControlNet" in a generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
