"""Imports the control families while nobody waits for them."""

from __future__ import annotations

from importlib import import_module
from threading import Timer
from typing import Any

FAMILIES = "lib_ctrlgen.controls.registry"  # imports diffusers, which takes seconds
DELAY = 5.0  # seconds, so that the WebUI's own start is over


def import_families(demo: Any, app: Any) -> None:
    """Import the control families in a thread, so that the first choice in the panel does not wait for it.

    Called when the WebUI has started; the thread waits a little and ends with the process. An import that
    fails there is repeated where a family is needed, and its error is shown there.
    """
    del demo, app
    timer = Timer(DELAY, import_module, (FAMILIES,))
    timer.name, timer.daemon = "ctrlgen-imports", True
    timer.start()
