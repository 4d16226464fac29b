"""Lets the panel restore the units that sd-webui-controlnet or Forge wrote into a pasted infotext."""

from __future__ import annotations

import json
import logging
from typing import Any

from modules import shared

from lib_ctrlgen.forms.infotext import KEY
from lib_ctrlgen.webui.controlnet.model_names import resolved
from lib_ctrlgen.webui.settings import model_store

logger = logging.getLogger("ctrlgen")
NO_PICTURES = "a pasted infotext holds no pictures: add each unit's picture before you generate"


def add_old_units(_infotext: str, params: dict[str, Any]) -> None:
    """Add CtrlGen's entry to the parameters of an infotext that has units of sd-webui-controlnet alone.

    Called by the WebUI before it fills the page's fields from the parameters.
    """
    if KEY in params or not any(str(name).startswith("ControlNet") for name in params):
        return
    from lib_ctrlgen.compat.pasted import pasted_units  # only for such infotexts
    from lib_ctrlgen.request.notices import Notices

    notices = Notices()
    units = pasted_units(params, _family(), notices)
    if not any(unit.get("enabled", True) for unit in units):
        return
    files = model_store().files
    named = [
        unit | {"model": resolved(unit["model"], files)} if unit.get("model") else unit for unit in units
    ]
    params[KEY] = json.dumps({"units": named}, ensure_ascii=False)
    for text in (NO_PICTURES, *notices.of()):
        logger.warning("%s", text)


def _family() -> Any:
    """The family of the loaded checkpoint, by the names of `compat.generation`."""
    model = shared.sd_model
    if getattr(model, "is_sdxl", False):
        return "sdxl"
    return "sd2" if getattr(model, "is_sd2", False) else "sd15"
