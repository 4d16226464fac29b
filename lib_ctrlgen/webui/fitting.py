"""Names the installed models that fit the checkpoint, in errors about a missing or an unfit model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lib_ctrlgen.controls.describe import describe
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.errors import RequestError, WrongModelError, nearest
from lib_ctrlgen.models.listing import listed
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.unet.family import Family

from .settings import model_store

QUOTED = re.compile(r"'([^']+)'")  # the name of the model in a message


@contextmanager
def naming_fitting(family: Family) -> Iterator[None]:
    """Append the installed models for a checkpoint family to an error that a WrongModelError caused."""
    try:
        yield
    except RequestError as error:
        if not _is_wrong_model(error):
            raise
        raise RequestError(error.path, f"{error.message}. {fitting(error.message, family)}") from error


def fitting(message: str, family: Family) -> str:
    """The installed control models for a checkpoint family, those with the nearest names first."""
    store = model_store()
    controls = {entry.name for entry in catalogue.CONTROLS}
    rows = listed(store.files, store.files.all(), describe)
    named = [row for row in rows if row.base == family.name and row.kind in controls]
    names = [row.name for row in named if store.get(row.path, identify_file).family == family]
    if not names:
        return f"No control model for {family} is installed"
    quoted = QUOTED.search(message)
    return f"Installed for {family}, {nearest(quoted[1] if quoted else '', names)}"


def _is_wrong_model(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, WrongModelError):
        error = error.__cause__
    return error is not None
