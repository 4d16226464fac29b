"""Saves cells of the tuner as recipes: over REST, and from the gallery of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Body

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_base64
from lib_ctrlgen.recipes.content import FOLDER
from lib_ctrlgen.recipes.found import PictureIndex
from lib_ctrlgen.recipes.from_cell import SavedCell, cell_picture, found_in, save_cell
from lib_ctrlgen.recipes.infotext import Find, recipe_of_infotext
from lib_ctrlgen.request.recipe_answers import CellRecipe
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.webui.recipe_library import library

from .jobs import known, tuner_folders


def post_cell_recipe(name: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Save a cell of a job as a recipe. Raises HTTPException 404, RequestError, HostError."""
    wanted = parse_request(payload, CellRecipe)
    file, _ = known(name)
    picture = cell_picture(file.folder, wanted.cell, wanted.picture)
    saved = save_cell(library(), wanted.recipe, picture, wanted.message)
    return {"name": saved.name, "version": vars(saved.version), "notes": list(saved.notes)}


def save_gallery_cell(page: Mapping[str, Any], name: str) -> SavedCell:
    """Save a cell of the page's gallery as a recipe. Raises RequestError, HostError.

    `page` has its `infotext` and its `picture` as a data URL, see ctrlgen_recipes.js.
    """
    if not page.get("infotext"):
        raise RequestError("", "select a cell in the gallery first, not the sheet")
    result = decode_base64(str(page.get("picture") or ""), "$.result")
    made = recipe_of_infotext(str(page["infotext"]), found_in_runs(), result)
    version = library().save(name, made.recipe, "A cell of the tuner")
    return SavedCell(name=library().find(name).folder.name, version=version, notes=made.notes)


def found_in_runs() -> Find:
    """A function that finds pictures by their hashes: in the tuner's folders, then in the recipes."""
    find: Find = PictureIndex(library()).find
    for folder in tuner_folders():
        find = found_in(folder / FOLDER, find)
    return find
