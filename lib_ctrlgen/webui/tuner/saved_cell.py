"""What the tuner's button for recipes does."""

from __future__ import annotations

import json

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.forms.field_errors import with_labels, within
from lib_ctrlgen.forms.recipe_places import RECIPE_CHOSEN
from lib_ctrlgen.webui.panel.preview import error_html
from lib_ctrlgen.webui.panel.recipe_events import note

from .cell_recipe import save_gallery_cell


def saved_cell(page: str, name: str) -> str:
    """Save the gallery's cell as a recipe; returns what was done, or what is wrong, as HTML."""
    try:
        saved = save_gallery_cell(json.loads(page or "{}"), name or "")
    except CtrlGenError as error:
        return error_html(at_field(error))
    notes = map(with_labels, saved.notes)
    return note(". ".join((f"Saved {saved.name!r}, version {saved.version.id[:8]}", *notes)))


def at_field(error: CtrlGenError) -> CtrlGenError:
    """An error of the recipe's name or of the gallery's cell, at the tuner's field beside the button."""
    if not isinstance(error, RequestError):
        return error
    own = RequestError("", error.message) if error.path in RECIPE_CHOSEN else error
    return within(own, "$.tune.recipe")
