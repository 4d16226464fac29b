"""Saves each rendered sheet as a recipe: its job with pictures, and the rendering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.recipes.content import Recipe
from lib_ctrlgen.recipes.from_picture import with_hashes
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.spec import to_payload

from .rendering import JOB, RENDERING

MESSAGE = "ctrlgen blueprint"


def save_recipes(records: Sequence[Mapping[str, Any]], out: Path, name: str, library: Path) -> Iterator[str]:
    """Save the sheets of a run as recipes `NAME SHEET`; yields each name.

    Raises RequestError for a name that no recipe may have, and HostError.
    """
    for record in records:
        folder = out / "sheets" / record["name"]
        result = (folder / RENDERING).read_bytes()
        job = to_payload(read_job(folder / JOB).request, whole=True)
        full = f"{name} {record['name']}"
        Library(library).save(full, Recipe(job=with_hashes(job, result), result=result), MESSAGE, "")
        yield full
