"""A folder with recipes: saves, lists, finds, renames and deletes them.

Every recipe is a folder of the library with a git repository of its own. One process at a time changes a
library; reading needs no lock.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import PART, new_folder

from .content import Files, Recipe, files_of, result_of
from .git import git_program
from .names import NAME, is_recipe, names_in, recipe_name, same_name, unknown
from .reading import read_recipe
from .versions import RecipeFolder, Version

LOCK = ".ctrlgen-recipes.lock"
NEW, OLD = ".new-", ".deleted-"  # hidden folders of recipes that are being made or deleted
PATIENCE = 20.0  # seconds to wait for another process
READERS = 4


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A recipe in a list: its name, current variant and newest version; the file of its result, if any."""

    name: str
    variant: str
    version: Version
    result: Path | None


@dataclass(frozen=True)
class Library:
    """The recipes in a folder, which is made when the first one is saved; `author` is who changes them."""

    folder: Path
    author: str = ""

    def recipe(self, folder: Path) -> RecipeFolder:
        """The recipe in a folder."""
        return RecipeFolder(folder, self.author)

    def names(self) -> list[str]:
        """The names of all recipes, sorted without regard to case. Raises HostError."""
        return names_in(self.folder)

    def listed(self) -> list[Listed]:
        """All recipes with their newest versions, the last saved one first.

        The version of a recipe whose repository is damaged has no `id`, and the error as its message.
        """
        git_program()  # raises HostError for all of them
        with ThreadPoolExecutor(READERS) as pool:
            rows = [row for row in pool.map(self._row, self.names()) if row is not None]
        return sorted(rows, key=lambda row: row.version.saved, reverse=True)

    def _row(self, name: str) -> Listed | None:
        """A recipe's row; None if it was deleted in the meantime."""
        found = self.recipe(self.folder / name)
        try:
            return self._read_row(found)
        except HostError as error:
            damaged = Version(id="", saved="", message=str(error))
            row = Listed(name=name, variant="", version=damaged, result=None)
            return row if is_recipe(found.folder) else None

    def _read_row(self, found: RecipeFolder) -> Listed:
        result = result_of({path.name: b"" for path in found.folder.glob("result.*") if path.is_file()})
        path = found.folder / result if result else None
        newest = found.newest()
        return Listed(name=found.folder.name, variant=found.variant, version=newest, result=path)

    def find(self, name: str) -> RecipeFolder:
        """The recipe of a name, in any case. Raises RequestError at `$.name`."""
        known = self.names()
        wanted = recipe_name(name)
        found = wanted if wanted in known else same_name(wanted, known)
        if found is None:
            raise RequestError(NAME, unknown(wanted, known, "recipe"))
        return self.recipe(self.folder / found)

    def save(self, name: str, recipe: Recipe, message: str = "", variant: str = "") -> Version:
        """Save a recipe under a name: as a new recipe, or as a new version of the current or given variant.

        The variant of a new recipe must be left out. Raises RequestError, HostError.
        """
        files = files_of(recipe)
        read_recipe(files)  # what is saved can be read
        with self.locked():
            known = same_name(recipe_name(name), self.names())
            if known is None:
                if variant:
                    raise RequestError(NAME, unknown(name, self.names(), "recipe"))
                return self._new(recipe_name(name), files, message or "First version")
            found = self.recipe(self.folder / known)
            if variant and variant != found.variant:
                found.switch(variant)
            return found.save(files, message or "Saved")

    def add(self, name: str, files: Files, message: str) -> str:
        """Save files under a name that is not taken: `name`, `name 2`, ... Returns the name."""
        with self.locked():
            known, base = self.names(), recipe_name(name)
            names = (base if number == 1 else f"{base} {number}" for number in range(1, len(known) + 2))
            free = next(each for each in names if same_name(each, known) is None)
            self._new(recipe_name(free), files, message)
            return free

    def _new(self, name: str, files: Files, message: str) -> Version:
        """Make a recipe in a hidden folder, and rename that when it is complete."""
        for path in self.folder.glob(f"{NEW}*"):  # of a process that was killed
            _remove(path)
        draft = self.recipe(self.folder / f"{NEW}{uuid4().hex}")
        try:
            draft.folder.mkdir()
            draft.start(files, message)
            draft.folder.rename(self.folder / name)
        except OSError as error:
            raise HostError(f"cannot make the recipe {name!r} in {self.folder}: {error}") from error
        finally:
            if draft.folder.exists():
                _remove(draft.folder)
        return self.recipe(self.folder / name).newest()

    def rename(self, name: str, new: str) -> str:
        """Give a recipe another name, which is returned. Raises RequestError if that is taken."""
        with self.locked():
            found, wanted = self.find(name), recipe_name(new, "$.new_name")
            others = [each for each in self.names() if each != found.folder.name]
            if taken := same_name(wanted, others):
                raise RequestError("$.new_name", f"there is a recipe {taken!r} already")
            _renamed(found.folder, self.folder / wanted)
            return wanted

    def delete(self, name: str) -> None:
        """Delete a recipe with its history. Raises RequestError if there is none of the name."""
        with self.locked():
            hidden = self.folder / f"{OLD}{uuid4().hex}"
            _renamed(self.find(name).folder, hidden)  # at once, so that no half of a recipe is ever listed
            for path in self.folder.glob(f"{OLD}*"):
                _remove(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The library for this process alone. Raises HostError if another one has it for too long."""
        new_folder(self.folder)
        lock = FileLock(str(self.folder / LOCK))
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            message = f"the recipes in {self.folder} are being changed by another process: try again"
            raise HostError(message) from error
        except (OSError, NotImplementedError) as error:
            raise HostError(f"cannot lock {self.folder}: {error}; choose a folder on a local disk") from error
        try:
            with suppress(OSError):
                for path in self.folder.glob(f".*{PART}"):  # of a process that was killed
                    path.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    @contextmanager
    def changing(self, name: str) -> Iterator[RecipeFolder]:
        """The recipe of this name, which no other process can change meanwhile. Raises RequestError."""
        with self.locked():
            yield self.find(name)


def _renamed(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        raise HostError(f"cannot rename {path.name!r}: {error.strerror or error}") from error


def _remove(path: Path) -> None:
    """Remove a folder with git's files, which are read-only; on Windows those must be made writable first."""

    def writable(remove: Callable[[str], Any], name: str, _error: object) -> None:
        Path(name).chmod(stat.S_IWRITE)
        remove(name)

    shutil.rmtree(path, onerror=writable)
