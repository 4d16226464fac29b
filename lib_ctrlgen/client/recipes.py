"""Recipes on a WebUI: save, read, rename, delete, compare and share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.answers import Answer
from lib_ctrlgen.request.recipe_answers import (
    RecipeAdded,
    RecipeAnswer,
    RecipeDeleted,
    RecipeDiff,
    RecipeListed,
    RecipeVersion,
)

from .connection import Connection
from .pictures import SentPicture, sent, with_sent_pictures
from .reading import read_answer, read_list

ROUTE = "/ctrlgen/v1/recipes"
AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


@dataclass(frozen=True, kw_only=True)
class WebUIRecipe:
    """A recipe of a WebUI by its name, whether it exists or not.

    Methods raise the errors of `lib_ctrlgen.client.errors`; RefusedError with status 404 if there is none.
    """

    connection: Connection
    name: str

    @property
    def path(self) -> str:
        """The recipe's route."""
        return f"{ROUTE}/{quote(self.name, safe='')}"

    def read(self, version: str = "", variant: str = "") -> RecipeAnswer:
        """A version with its pictures, by default the newest one."""
        return self._call("GET", query(version=version, variant=variant), RecipeAnswer)

    def save(
        self,
        job: Mapping[str, Any],
        *,
        result: SentPicture | None = None,
        settings: Mapping[str, str] | None = None,
        message: str = "",
        variant: str = "",
    ) -> RecipeVersion:
        """Save a job as a new recipe, or as a new version of it.

        `result` is the picture that was made; `settings` are entries of its infotext that a job has no
        field for.
        """
        body = {
            "job": with_sent_pictures(job),
            "settings": dict(settings or {}),
            "result": "" if result is None else sent(result, "$.result"),
            "message": message,
            "variant": variant,
        }
        return self._call("PUT", "", RecipeVersion, body)

    def history(self, variant: str = "") -> tuple[RecipeVersion, ...]:
        """The versions of a variant, the newest first."""
        found = self.connection.json("GET", f"{self.path}/history{query(variant=variant)}")
        return read_list(self.connection.url, found, RecipeVersion)

    def diff(self, old: str = "", new: str = "", other: str = "") -> RecipeDiff:
        """What differs between two versions, or from the recipe `other`."""
        return self._call("GET", f"/diff{query(old=old, new=new, other=other)}", RecipeDiff)

    def restore(self, version: str) -> RecipeVersion:
        """Make an old version the newest one."""
        return self._call("POST", "/restore", RecipeVersion, {"version": version})

    def new_variant(self, variant: str, version: str = "") -> RecipeListed:
        """Make a variant that begins with a version, by default the newest one, and switch to it."""
        return self._call("POST", "/variants", RecipeListed, {"variant": variant, "version": version})

    def switch(self, variant: str) -> RecipeListed:
        """Switch to a variant."""
        return self._call("PATCH", "", RecipeListed, {"variant": variant})

    def rename(self, name: str) -> WebUIRecipe:
        """Give the recipe another name, and return it under that name."""
        found = self._call("PATCH", "", RecipeListed, {"name": name})
        return WebUIRecipe(connection=self.connection, name=found.name)

    def delete(self) -> RecipeDeleted:
        """Delete the recipe with its history. It cannot be brought back."""
        return self._call("DELETE", "", RecipeDeleted)

    def zip(self, version: str = "", variant: str = "") -> bytes:
        """A version as one zip, without the history."""
        return self.connection.content(f"{self.path}/zip{query(version=version, variant=variant)}")

    def _call(self, method: str, rest: str, kind: type[AnyAnswer], body: Any = None) -> AnyAnswer:
        found = self.connection.json(method, f"{self.path}{rest}", body)
        return read_answer(self.connection.url, found, kind)


def query(**values: str) -> str:
    """The part of an address with the values that are not empty."""
    given = {name: value for name, value in values.items() if value}
    return f"?{urlencode(given)}" if given else ""


def listed_recipes(connection: Connection) -> tuple[RecipeListed, ...]:
    """All recipes of a WebUI, the last saved one first."""
    return read_list(connection.url, connection.json("GET", ROUTE), RecipeListed)


def add_recipe(connection: Connection, file: Path | bytes, name: str = "") -> RecipeAdded:
    """Add the recipe in a zip or a picture. Raises HostError for a file that cannot be read."""
    data, title = (file, "imported") if isinstance(file, bytes) else (_read(file), file.stem)
    found = connection.json("POST", f"{ROUTE}{query(name=name or title)}", data)
    return read_answer(connection.url, found, RecipeAdded)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror or error}") from error
