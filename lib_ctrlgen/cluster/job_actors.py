"""The workers of `ctrlgen serve` on a Ray cluster: one actor with an engine for each job that runs at a time.

The files of a job are sent to the server while the job runs, so that a lost actor loses no finished cell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Event, Lock
from time import monotonic
from typing import Any, Protocol

import ray
from ray.exceptions import RayError

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import PART, save_bytes

from .job_runs import (
    STOP_SECONDS,
    Outcome,
    Report,
    Runner,
    Stops,
    StopTimer,
    WorkerLostError,
    outcome_of,
)

PAUSE = 0.5  # seconds between two questions for the progress
START_SECONDS = 600.0
CALLS = 4  # an actor answers questions while a job runs


class RunnerRecipe(Protocol):
    """Builds a runner on a node. The recipe is pickled and sent there."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The resources that the actor needs."""

    def build(self) -> Runner:
        """Build the runner. Raises CtrlGenError."""


@dataclass(frozen=True)
class Poll:
    """How far a job is, and the files that are new or changed since the last question."""

    done: int
    total: int
    files: Mapping[str, bytes]


class JobActor:
    """The actor; it runs one job at a time."""

    def __init__(self, recipe: RunnerRecipe) -> None:
        self.recipe = recipe
        self.runner: Runner
        self.stops = Stops(set())
        self.lock = Lock()
        self.changes: FolderChanges | None = None
        self.progress = 0, 0

    def open(self) -> str:
        """Build the runner, and return the version of CtrlGen that runs here."""
        self.runner = self.recipe.build()
        return __version__

    def run(self, work: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[Outcome, Mapping[str, bytes]]:
        """Run a job whose folder has these files; returns the outcome and the files that are new."""
        with TemporaryDirectory(prefix="ctrlgen-job-") as name:
            folder = Path(name)
            write_files(files, folder)
            with self.lock:
                self.changes, self.progress = FolderChanges(folder), (0, 0)
            self.changes.take()
            try:
                outcome = outcome_of(self.runner, work, folder, self.stops.watched(work["id"], self.told))
                return outcome, self.changes.take()
            finally:
                with self.lock:
                    self.changes = None

    def told(self, done: int, total: int) -> None:
        """Note the progress."""
        self.progress = done, total

    def poll(self) -> Poll:
        """The progress of the running job."""
        with self.lock:
            files = {} if self.changes is None else self.changes.take()
        return Poll(*self.progress, files)

    def stop(self, job: str) -> None:
        """Stop a job after its next step."""
        self.stops.ids.add(job)


class FolderChanges:
    """The files of a folder that were written since the last look; hidden ones are left out. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[int, int]] = {}
        self._lock = Lock()

    def take(self) -> dict[str, bytes]:
        """The new content by path in the folder."""
        with self._lock:
            return dict(self._changed())

    def _changed(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(files_below(self.folder)):
            with suppress(FileNotFoundError):  # renamed meanwhile
                state = path.stat().st_mtime_ns, path.stat().st_size
                name = path.relative_to(self.folder).as_posix()
                if self._seen.get(name) != state:
                    self._seen[name] = state
                    yield name, path.read_bytes()


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder, without hidden and unfinished ones; folders may be renamed meanwhile."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith(".") and PART not in name)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder. Raises HostError for a path that leaves it."""
    for name, data in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise HostError(f"a worker names a file outside of the job's folder: {name!r}")
        save_bytes(data, folder / name)


@dataclass
class RayJobWorker:
    """An actor as the server sees it; see `job_runs.JobWorker`. It is replaced when it was lost.

    patience  seconds in which a cancelled job has to stop
    """

    name: str
    recipe: RunnerRecipe
    actor: Any = field(default=None)
    patience: float = STOP_SECONDS
    _timer: StopTimer = field(default_factory=StopTimer)
    _abandoned: Event = field(default_factory=Event)

    def start(self) -> None:
        """Start the actor, unless it runs. Raises WorkerLostError; HostError for another version there."""
        if self.actor is not None:
            return
        actor: Any = (
            ray.remote(JobActor).options(**self.recipe.options, max_concurrency=CALLS).remote(self.recipe)
        )
        try:
            version = self._opened(actor)
        except RayError as error:
            ray.kill(actor)
            reason = str(error).strip().partition("\n")[0]
            raise WorkerLostError(f"{self.name} could not be started on the cluster: {reason}") from error
        except BaseException:
            ray.kill(actor)
            raise
        if version != __version__:
            ray.kill(actor)
            raise HostError(f"a node of the cluster has ctrlgen {version}, this machine has {__version__}")
        self.actor = actor

    def _opened(self, actor: Any) -> str:
        """The version of CtrlGen on the actor's node, when its engine is ready; a full cluster may never be.

        Raises WorkerLostError and RayError.
        """
        reference, end = actor.open.remote(), monotonic() + START_SECONDS
        while not ray.wait([reference], timeout=PAUSE)[0]:
            if self._abandoned.is_set():
                raise WorkerLostError(f"{self.name} is not started: the server is being stopped")
            if monotonic() > end:
                message = f"{self.name} did not start on the cluster in {START_SECONDS:.0f} seconds"
                raise WorkerLostError(message)
        return str(ray.get(reference))

    def abandon(self) -> None:
        """End the actor if it only starts, and start it no more."""
        self._abandoned.set()

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> Outcome:
        """Run a job. Raises WorkerLostError, and HostError if its files cannot be written here.

        After any error the actor is ended: it may still run the job.
        """
        try:
            with self._timer.running(work["id"]):
                return self._made(work, folder, report)
        except RayError as error:
            self.close()
            raise WorkerLostError(f"{self.name} was lost") from error
        except BaseException:
            self.close()
            raise

    def _made(self, work: Mapping[str, Any], folder: Path, report: Report) -> Outcome:
        reference = self.actor.run.remote(dict(work), FolderChanges(folder).take())
        while not ray.wait([reference], timeout=PAUSE)[0]:
            poll: Poll = ray.get(self.actor.poll.remote())
            write_files(poll.files, folder)
            report(poll.done, poll.total)
        outcome, files = ray.get(reference)
        write_files(files, folder)
        return dict(outcome)

    def cancel(self, job: str) -> None:
        """Stop a job after its next step; the actor is ended if that takes too long."""
        if (actor := self.actor) is not None:
            actor.stop.remote(job)
            self._timer.begin(job, self.patience, partial(ray.kill, actor))

    def close(self) -> None:
        """End the actor."""
        self._timer.clear()
        actor, self.actor = self.actor, None
        if actor is not None:
            ray.kill(actor)
