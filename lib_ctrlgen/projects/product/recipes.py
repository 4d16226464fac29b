"""Keeps the pictures of a product as recipes, each with its versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.recipes.content import Recipe
from lib_ctrlgen.recipes.from_picture import with_hashes
from lib_ctrlgen.recipes.git import git_program
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.recipes.names import recipe_name
from lib_ctrlgen.request.spec import to_payload

from .picture import JOB, PICTURE

MESSAGE = "ctrlgen product"


@dataclass(frozen=True, kw_only=True)
class PictureRecipes:
    """Saves pictures in a library as recipes named `NAME PICTURE`."""

    library: Library
    name: str

    def recipe_name(self, picture: str) -> str:
        """The name of a picture's recipe. Raises RequestError at `--recipe`."""
        return recipe_name(f"{self.name} {picture}", "--recipe")

    def require_names(self, pictures: Sequence[str]) -> None:
        """Raise RequestError for a picture whose recipe cannot have its name, HostError without git."""
        git_program()
        for picture in pictures:
            self.recipe_name(picture)

    def save(self, picture: str, folder: Path) -> None:
        """Save the picture of a folder; the same picture and job make no new version.

        Raises RequestError and HostError.
        """
        result = (folder / PICTURE).read_bytes()
        job = to_payload(read_job(folder / JOB).request, whole=True)
        recipe = Recipe(job=with_hashes(job, result), result=result)
        self.library.save(self.recipe_name(picture), recipe, MESSAGE)
