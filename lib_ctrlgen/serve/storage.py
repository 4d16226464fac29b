"""The server's disk: what each user keeps there, how much of it is free, and what is removed."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from time import time

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.recipes.library import Library

from .limits import Limits, StorageError
from .records import PREVIEW, Job
from .results import JobFolders, size_of
from .store import JobStore

LOG = logging.getLogger("ctrlgen.serve")
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Storage:
    """Counts, limits and removes what users keep."""

    store: JobStore
    folders: JobFolders
    limits: Limits

    def take_up(self) -> None:
        """Make the counts exact after a kill, and for a folder of an earlier version."""
        for job in self.store.kept.removals():
            self._remove_files(job)
        for each in self.store.unmeasured():
            self.store.kept.measured(each, size_of(self.folders.result(each)))
        self._count_recipes()

    def _count_recipes(self) -> None:
        """Note the recipes whose bytes differ from what is noted: new ones are the newest author's."""
        library, noted = Library(self.folders.recipes), self.store.kept.recipes()
        names = library.names()
        for name in noted.keys() - set(names):
            self.store.kept.recipe_gone(name)
        for name in names:
            if noted.get(name) != size_of(self.folders.recipes / name):
                author = ""
                with suppress(HostError):  # a damaged recipe is nobody's
                    author = library.find(name).newest().author
                self.note_recipe(name, author)

    def note_recipe(self, name: str, user: str) -> None:
        """Note that a user has added to a recipe."""
        self.store.kept.recipe_has(name, size_of(self.folders.recipes / name), user)

    def require(self, user: str, more: int) -> None:
        """Raise StorageError if a user may not keep `more` bytes, or the disk is nearly full."""
        self.require_free()
        self.limits.check_stored(self.store.kept.of(user), more)

    def require_started(self, job: Job) -> None:
        """Raise StorageError if a job must not start, because its user's earlier ones have made too much."""
        if job.kind != PREVIEW:
            self.limits.check_stored(self.store.kept.of(job.user))

    def require_free(self) -> None:
        """Raise StorageError if the server's disk is nearly full."""
        self.limits.check_disk(shutil.disk_usage(self.folders.root).free)

    @property
    def is_free(self) -> bool:
        """Whether enough of the server's disk is free to make something."""
        with suppress(StorageError):
            self.require_free()
            return True
        return False

    def remove(self, job: Job) -> None:
        """Remove a job that has ended, with its files."""
        self.store.remove(job)
        self._remove_files(job.id)

    def _remove_files(self, job: str) -> None:
        self.folders.remove(job)
        if not self.folders.has_files(job):
            self.store.kept.removal_ended(job)

    def remove_old(self) -> None:
        """Remove the jobs that ended longer ago than the days for which they are kept."""
        if self.limits.days:
            for job in self.store.old(time() - self.limits.days * DAY):
                LOG.info("job %s ended more than %d days ago: it is removed", job.id, self.limits.days)
                self.remove(job)
