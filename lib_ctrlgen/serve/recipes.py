"""The recipes of the team: pictures of jobs under names, in a library that all users share.

Whoever changes a recipe is the author of the version. A recipe is deleted by the user who saved its first
version, or by an admin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.recipes.content import Payload, Recipe
from lib_ctrlgen.recipes.infotext import Imported
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.recipes.names import NAME, recipe_name
from lib_ctrlgen.recipes.versions import RecipeFolder, Version
from lib_ctrlgen.request.base import Spec

from .errors import ForbiddenError, NotFoundError
from .made_from import made_from, recipe_bytes
from .models import Models, queued
from .once import Once
from .records import Job
from .service import Service
from .users import User

LACKS = "the recipe lacks pictures ({names}): it cannot be made again"


class SaveRecipe(Spec, frozen=True, kw_only=True):
    """Pictures of a job that are to be saved as recipes.

    job      the id of a job that is done
    picture  its picture's number, counted from 0; without one, all assets of a story, and of another job the
             first picture
    name     of the recipe, which gets a new version if it exists. All assets of a story are named NAME ASSET,
             by default with the story's title
    message  words for the history
    """

    job: str
    picture: int | None = None
    name: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A recipe that was saved, and sentences on what is missing in it."""

    name: str
    version: Version
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TeamRecipes:
    """The library of a server."""

    service: Service
    models: Models

    def library(self, user: User | None = None) -> Library:
        """The library, as it is changed by a user."""
        return Library(self.service.folders.recipes, "" if user is None else user.name)

    def find(self, name: str) -> RecipeFolder:
        """The recipe of a name. Raises NotFoundError."""
        try:
            return self.library().find(name)
        except RequestError as error:
            raise NotFoundError(error.message) from error

    def save(self, user: User, job: Job, wanted: SaveRecipe) -> list[Saved]:
        """Save pictures of a job. Names are checked before the first one is saved.

        Raises NotFoundError for a job without these pictures, StorageError, RequestError, HostError.
        """
        if job.state != "done":
            raise NotFoundError(f"the job {job.id!r} has no pictures: it is {job.state}")
        named = [(number, recipe_name(name, NAME)) for number, name in names_of(job, wanted)]
        self.service.storage.require(user.name, sum(recipe_bytes(self.service, job, at) for at, _ in named))
        return [self._saved(user, name, made_from(self.service, job, at), wanted) for at, name in named]

    def _saved(self, user: User, name: str, made: Imported, wanted: SaveRecipe) -> Saved:
        version = self.library(user).save(name, made.recipe, wanted.message or f"The job {wanted.job}")
        found = self.find(name).folder.name
        self.service.storage.note_recipe(found, user.name)
        return Saved(name=found, version=version, notes=made.notes)

    def restore(self, user: User, name: str, version: str) -> Version:
        """Make an old version the newest one. Raises NotFoundError, StorageError, RequestError, HostError."""
        known = self.find(name).folder.name
        self.service.storage.require(user.name, 0)
        with self.library(user).changing(known) as found:
            restored = found.restore(version)
        self.service.storage.note_recipe(known, user.name)
        return restored

    def delete(self, user: User, name: str) -> tuple[str, int]:
        """Delete a recipe with its history; returns its name and how many versions it had.

        Raises NotFoundError, and ForbiddenError unless the user made it or is an admin.
        """
        found = self.find(name)
        if not self.may_delete(user, found):
            advice = f"{found.creator()} or an admin deletes {found.folder.name!r}"
            raise ForbiddenError(f"{advice}: the recipe is not yours")
        deleted = found.folder.name, len(found.history())
        self.library(user).delete(found.folder.name)
        self.service.store.kept.recipe_gone(found.folder.name)
        return deleted

    def may_delete(self, user: User, found: RecipeFolder) -> bool:
        """Whether a user may delete a recipe."""
        return user.is_admin or found.creator() == user.name

    def job(self, name: str, version: str = "", variant: str = "") -> Payload:
        """A version as a job with its pictures. Raises NotFoundError, RequestError for a missing picture."""
        return whole_job(self.find(name).read(version, variant))

    def again(self, user: User, name: str, version: str = "", once: Once | None = None) -> Job:
        """Queue a version as a job.

        Raises NotFoundError, RequestError, QueueFullError, StorageError, HostError.
        """
        return queued(self.service, self.models, user, self.job(name, version), once)


def whole_job(recipe: Recipe) -> Payload:
    """The job of a recipe with its pictures. Raises RequestError if some are missing."""
    if recipe.missing:
        raise RequestError("$", LACKS.format(names=", ".join(recipe.missing)))
    return recipe.job


def names_of(job: Job, wanted: SaveRecipe) -> Iterator[tuple[int, str]]:
    """The numbers of the pictures that are to be saved, and the names of their recipes."""
    assets = (job.result or {}).get("assets", ())
    if not assets or wanted.picture is not None:
        number = wanted.picture or 0
        own = f"{job.title} {assets[number]}" if 0 <= number < len(assets) else ""
        yield number, wanted.name or own
        return
    yield from ((number, f"{wanted.name or job.title} {name}") for number, name in enumerate(assets))
