"""What the tuner's button for recipes does."""

from __future__ import annotations

import json

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.webui.panel.preview import error_html
from lib_ctrlgen.webui.panel.recipe_events import note

from .cell_recipe import save_gallery_cell


def saved_cell(page: str, name: str) -> str:
    """Save the gallery's cell as a recipe; returns what was done, or what is wrong, as HTML."""
    try:
        saved = save_gallery_cell(json.loads(page or "{}"), name or "")
    except CtrlGenError as error:
        return error_html(at_recipe_field(error))
    return note(". ".join((f"Saved {saved.name!r}, version {saved.version.id[:8]}", *saved.notes)))


def at_recipe_field(error: CtrlGenError) -> CtrlGenError:
    """An error of the recipe's name, or of the chosen picture, at the tuner's field beside the button."""
    if isinstance(error, RequestError) and error.path in {"", "$.name", "$.result", "$.infotext"}:
        return RequestError("$.tune.recipe", error.message)
    return error
