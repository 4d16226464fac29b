"""The previews of all users. A user has at most one: a newer one takes the place of an older one."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from time import time

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.serve.checks import CheckedJob
from lib_ctrlgen.serve.records import Job
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.users import User

KEPT_SECONDS = 120.0  # for which a finished preview waits for the page that asked for it


class Previews:
    """Queues previews, and removes those that are not needed any more. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = Lock()

    def submit(self, user: User, preview: CheckedJob) -> Job:
        """Queue a preview in the place of the user's older ones. Raises HostError while the server stops."""
        with self._lock:
            self.drop_all(user)
            self.prune()
            return self.service.submit(user, preview)

    def of(self, user: User, job: str) -> Job | None:
        """The user's preview with this id, or None."""
        return next((each for each in self.service.store.previews(user.name) if each.id == job), None)

    def drop_all(self, user: User) -> None:
        """Cancel and remove the previews of a user."""
        for job in self.service.store.previews(user.name):
            self.drop(job)

    def drop(self, job: Job) -> None:
        """Cancel a preview and remove it with its files; one that runs goes after its current step."""
        with suppress(HostError):  # it was removed meanwhile
            if not (ended := self.service.cancel(job)).is_live:
                self.service.remove(ended)

    def prune(self) -> None:
        """Remove finished previews that no page has fetched."""
        for job in self.service.store.previews():
            if not job.is_live and (job.ended or 0.0) + KEPT_SECONDS < time():
                self.service.remove(job)
