"""Registers functions that the WebUI calls, with the file that they come from.

The WebUI's own `on_app_started` and so on look for that file in the whole stack (`inspect.stack`), which
takes a tenth of a second each in a process with some thousand modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from modules import script_callbacks


def register_callback(category: str, function: Callable[..., Any], file: str) -> None:
    """Register a function for a category such as `app_started`; `file` is the one that registers it.

    A WebUI that cannot be told the file is asked by its own function.
    """
    add = getattr(script_callbacks, "add_callback", None)
    if add is None or "filename" not in inspect.signature(add).parameters:
        getattr(script_callbacks, f"on_{category}")(function)
        return
    add(script_callbacks.callback_map[f"callbacks_{category}"], function, category=category, filename=file)
