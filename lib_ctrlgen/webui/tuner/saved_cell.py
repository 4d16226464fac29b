"""What the tuner's button for recipes does."""

from __future__ import annotations

import json

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.webui.panel.preview import error_html
from lib_ctrlgen.webui.panel.recipe_events import note

from .cell_recipe import save_gallery_cell


def saved_cell(page: str, name: str) -> str:
    """Save the gallery's cell as a recipe; returns what was done, or what is wrong, as HTML."""
    try:
        saved = save_gallery_cell(json.loads(page or "{}"), name or "")
    except CtrlGenError as error:
        return error_html(str(error))
    return note(". ".join((f"Saved {saved.name!r}, version {saved.version.id[:8]}", *saved.notes)))
