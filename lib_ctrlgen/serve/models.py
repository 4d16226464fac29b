"""What a server checks jobs against: the model folders, and the names that the page and /models list."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from lib_ctrlgen.request.catalogue import control_names, preprocessor_names
from lib_ctrlgen.request.sampler_names import SAMPLERS

from .answers import ModelsAnswer
from .checks import CheckRequest, EngineChecks, checked_job
from .once import Once
from .records import Job
from .service import Service
from .users import User

if TYPE_CHECKING:
    from lib_ctrlgen.projects.story.assets import Planner
    from lib_ctrlgen.projects.story.pictures import ReadStory

LIST_SECONDS = 10.0  # for which a list is kept
CHECKPOINT = "checkpoint"


class Models(Protocol):
    """The models that jobs may use."""

    def checker(self) -> CheckRequest:
        """A function that checks the requests of one job. It raises RequestError."""

    def planner(self, story: ReadStory) -> Planner:
        """The requests of a story's assets. Raises RequestError at `$.model` for an unknown checkpoint."""

    def answer(self) -> ModelsAnswer:
        """The names of models, preprocessors and samplers."""


class EngineModels:
    """The models in the folders of an engine on this machine. Thread-safe."""

    def __init__(self, checks: EngineChecks) -> None:
        self.checks = checks
        self._lock = Lock()
        self._listed: tuple[float, ModelsAnswer] | None = None

    def checker(self) -> CheckRequest:
        """A function that checks the requests of one job. It raises RequestError."""
        return self.checks.checker()

    def planner(self, story: ReadStory) -> Planner:
        """The requests of a story's assets. Raises RequestError at `$.model` for an unknown checkpoint."""
        from lib_ctrlgen.projects.story.assets import planner_of

        return planner_of(story, self.checks.store)

    def answer(self) -> ModelsAnswer:
        """The names; the folders are searched again after some seconds."""
        with self._lock:
            if self._listed is None or self._listed[0] < monotonic():
                self._listed = monotonic() + LIST_SECONDS, self._answer()
            return self._listed[1]

    def _answer(self) -> ModelsAnswer:
        from lib_ctrlgen.controls.describe import describe
        from lib_ctrlgen.models.listing import listed

        files: Any = self.checks.store.files
        files.refresh()
        rows, families = listed(files, files.checkpoints(), describe), control_names()
        return names_answer(
            checkpoints=[row.name for row in rows if row.kind == CHECKPOINT],
            controls=[row.name for row in rows if row.kind in families],
        )


def names_answer(checkpoints: list[str], controls: list[str]) -> ModelsAnswer:
    """The answer with these models, and with all preprocessors and samplers."""
    return ModelsAnswer(
        checkpoints=checkpoints,
        controls=controls,
        preprocessors=list(preprocessor_names()),
        samplers=list(SAMPLERS),
    )


def queued(
    service: Service, models: Models, user: User, content: Mapping[str, Any], once: Once | None = None
) -> Job:
    """Check and queue a job of a user. Raises RequestError, QueueFullError, StorageError, HostError."""
    return service.submit(user, checked_job(content, service.limits, models.checker()), once)
