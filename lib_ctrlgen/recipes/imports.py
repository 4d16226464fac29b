"""Adds the recipe in an uploaded file to a library: in a zip, or described by a picture's infotext."""

from __future__ import annotations

from dataclasses import dataclass

from .archive import LARGEST_ZIP, read_zip
from .content import files_of
from .found import PictureIndex
from .from_picture import recipe_of_picture
from .library import Library
from .reading import read_recipe

ZIP = b"PK"
LARGEST_UPLOAD = LARGEST_ZIP


@dataclass(frozen=True, kw_only=True)
class Added:
    """The name under which a recipe was added, and sentences on what is missing in it."""

    name: str
    notes: tuple[str, ...] = ()


def import_file(library: Library, data: bytes, name: str) -> Added:
    """Add the recipe in a zip or a picture under `name`, or `name 2`, ... if that is taken.

    Raises RequestError for a file that is neither, or not safe.
    """
    if data.startswith(ZIP):
        files, recipe = read_zip(data)
        notes = tuple(f"the picture {digest} is missing" for digest in recipe.missing)
        return Added(name=library.add(name, files, "Imported from a zip"), notes=notes)
    made = recipe_of_picture(data, PictureIndex(library).find)
    files = files_of(made.recipe)
    read_recipe(files)  # what is saved can be read
    return Added(name=library.add(name, files, "Imported from a picture"), notes=made.notes)
