"""Saves a cell of a tuner's run as a recipe, from the cell's picture in the folder of the run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.images.control_pictures import control_picture_hash
from lib_ctrlgen.tuner.finished_cell import KEY

from .content import FOLDER, data_url
from .found import PictureIndex
from .from_picture import recipe_of_picture
from .infotext import Find, Imported
from .library import Library
from .reading import LARGEST_FILE, MEGABYTE
from .versions import Version

CELL = "$.cell"
CELLS, TABLE = "cells", "cells.json"
DIGITS = re.compile(r"[0-9a-f]{16}")
ADVICE = "a cell is named by the 16 hexadecimal digits in its pictures' file names"


@dataclass(frozen=True, kw_only=True)
class SavedCell:
    """The version that a cell was saved as, and sentences on what is missing in it."""

    name: str
    version: Version
    notes: tuple[str, ...] = ()


def save_cell(library: Library, name: str, picture: Path, message: str = "") -> SavedCell:
    """Save the cell of a picture as a recipe, or as a new version of one. Raises RequestError, HostError.

    `picture` is a file in the folder `cells` of a run. The pictures of its units are looked for in the run's
    folder, and then in the other recipes.
    """
    made = recipe_of_cell(picture, PictureIndex(library).find)
    version = library.save(name, made.recipe, message or f"The cell {picture.stem}")
    return SavedCell(name=library.find(name).folder.name, version=version, notes=made.notes)


def recipe_of_cell(picture: Path, elsewhere: Find) -> Imported:
    """The recipe of a cell's picture. Raises RequestError, HostError."""
    find = found_in(picture.parent.parent / FOLDER, elsewhere)
    return recipe_of_picture(picture_bytes(picture), find)


def found_in(folder: Path, elsewhere: Find = lambda _digest: "") -> Find:
    """A function that finds pictures by their hashes in a folder of a run, and then elsewhere."""

    def find(digest: str) -> str:
        for path in sorted(folder.glob(f"{digest}.*")):
            picture = data_url(picture_bytes(path), path.suffix[1:])
            if _has_hash(picture, digest):
                return picture
        return elsewhere(digest)

    return find


def _has_hash(picture: str, digest: str) -> bool:
    try:
        return control_picture_hash(picture) == digest
    except CtrlGenError:  # the file was damaged
        return False


def picture_bytes(path: Path) -> bytes:
    """The bytes of a picture of a run. Raises HostError."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise HostError(f"{path} is larger than {LARGEST_FILE // MEGABYTE} MB")
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror or error}") from error


def cell_picture(run: Path, cell: str = "", number: int = 0) -> Path:
    """The file of a cell's picture in the folder of a run; of the recommended cell if `cell` is empty.

    `number` counts the cell's pictures, one for each seed. Raises RequestError.
    """
    key = cell or recommended(run)
    if not DIGITS.fullmatch(key):
        raise RequestError(CELL, f"{key[:40]!r} is no cell: {ADVICE}")
    files = sorted((run / CELLS).glob(f"{key}-[0-9][0-9]-seed-*.png"))
    if not files:
        raise RequestError(CELL, f"the run {run.name} has no finished cell {key}")
    if not 0 <= number < len(files):
        raise RequestError("$.picture", f"the cell has {len(files)} pictures, counted from 0")
    return files[number]


def recommended(run: Path) -> str:
    """The recommended cell of a run. Raises RequestError if there is none."""
    try:
        table = json.loads((run / TABLE).read_text("utf-8"))
        name = table["cells"][table["recommended"]["cell"]]["files"][0]
        key = KEY.search(name)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        key = None
    if key is None:
        raise RequestError(CELL, f"the run {run.name} recommends no cell: name one; {ADVICE}")
    return key[1]
