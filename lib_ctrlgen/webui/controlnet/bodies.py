"""Checks of REST bodies with units for ControlNet, before the WebUI reads them. Nothing imports the WebUI.

Of `alwayson_scripts.ControlNet` the WebUI reads the list `args`, up to the number of the script's arguments.
The units themselves are read by `lib_ctrlgen.compat.reading`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.errors import RequestError

logger = logging.getLogger("ctrlgen")
TITLE = "controlnet"  # the WebUI ignores case in titles
SCRIPTS = "alwayson_scripts"
OLD_UNITS = "controlnet_units"  # where releases of 2023 had the units
FORM = '{"alwayson_scripts": {"ControlNet": {"args": [{"enabled": true, "model": "...", "image": "..."}]}}}'


def check_controlnet(body: Mapping[str, Any], units: int, path: str = "$") -> None:
    """Raise RequestError for units for ControlNet that would not be read.

    `units` is the number of the script's arguments. The log says if old units are there beside the script's.
    """
    scripts = body.get(SCRIPTS)
    entries = dict(scripts) if isinstance(scripts, Mapping) else {}
    titles = [name for name in entries if str(name).casefold() == TITLE]
    if body.get(OLD_UNITS) and not titles:
        raise RequestError(f"{path}.{OLD_UNITS}", f"is not read since 2023; write {FORM}")
    if body.get(OLD_UNITS):
        logger.warning("%s.%s is not read, but alwayson_scripts.ControlNet", path, OLD_UNITS)
    if len(titles) > 1:
        message = f"the scripts also have '{titles[0]}': send one of them"
        raise RequestError(f"{path}.{SCRIPTS}.{titles[1]}", message)
    for title in titles:
        _check_entry(entries[title], units, f"{path}.{SCRIPTS}.{title}")


def _check_entry(entry: Any, units: int, path: str) -> None:
    if not isinstance(entry, Mapping) or (entry and "args" not in entry):
        raise RequestError(path, f"expected an object with the list 'args'; write {FORM}")
    args = entry.get("args", [])
    if not isinstance(args, list):
        raise RequestError(f"{path}.args", f"expected a list of units; write {FORM}")
    if len(args) > units:
        message = f"a request has at most {units} units for ControlNet; CtrlGen's own script takes 64"
        raise RequestError(f"{path}.args[{units}]", message)
