"""Gives the jobs of the queue to workers, and notes what becomes of them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from lib_ctrlgen.cluster.batches import LOSSES
from lib_ctrlgen.cluster.job_runs import JobWorker, Outcome, Report, WorkerLostError
from lib_ctrlgen.errors import CtrlGenError, HostError
from lib_ctrlgen.tuner.lock import FolderLock

from .checks import CheckedJob
from .limits import Limits, StorageError
from .once import Once
from .records import PREVIEW, Job
from .results import JobFolders, size_of
from .storage import Storage
from .store import JobStore
from .users import User

LOG = logging.getLogger("ctrlgen.serve")
LONGEST_PAUSE = 30.0  # seconds between two attempts to start a worker
GIVEN_UP = "given up: {losses} workers were lost while they made this job (out of memory?)"
TIDY_SECONDS = 3600.0  # between two searches for jobs that are too old
FREE_SECONDS = 10.0  # between two looks at a disk that is nearly full


@dataclass
class Running:
    """A job that a worker runs now."""

    job: Job
    worker: JobWorker
    done: int = 0
    total: int = 0


class Service:
    """The queue, the workers and the results, in one folder that no other server uses.

    `start` takes up what an earlier server left: a job whose result is complete is done, any other job that
    ran goes back to the queue.
    """

    def __init__(self, folder: Path, workers: Sequence[JobWorker], limits: Limits) -> None:
        self.lock = FolderLock(folder)
        self.lock.__enter__()
        try:
            self.store = JobStore(folder / "jobs.sqlite")
        except BaseException:
            self.lock.__exit__(None, None, None)
            raise
        self.folders, self.limits = JobFolders(folder), limits
        self.storage = Storage(self.store, self.folders, limits)
        self.workers = tuple(workers)
        self.ready: set[str] = set()  # names of workers that run
        self.running: dict[str, Running] = {}
        self.unsettled: dict[str, tuple[Job, str]] = {}  # jobs whose end could not be noted, and why
        self.changed = Condition()
        self.stopping = Event()
        self.threads: list[Thread] = []

    def start(self) -> None:
        """Take up the jobs of an earlier server, and start the workers."""
        self.recover()
        self.storage.take_up()
        self.threads = [
            Thread(target=self.work, args=(worker,), name=worker.name, daemon=True) for worker in self.workers
        ]
        self.threads.append(Thread(target=self.tidy, name="tidy", daemon=True))
        for thread in self.threads:
            thread.start()

    def recover(self) -> None:
        """Take up the jobs that ran when an earlier server ended. Its previews are removed."""
        for preview in self.store.previews():
            self.end_cancelled(preview)
        for job in self.store.listed(state="running", most=-1):
            if not self.concluded(job):
                LOG.warning("job %s ran when the server ended: it goes back to the queue", job.id)
                self.store.requeue(job)

    def concluded(self, job: Job) -> bool:
        """End a running job whose result is complete, or which was cancelled; returns whether it is one."""
        if (result := self.folders.published(job)) is not None:
            self.end_done(job, result)
        elif job.cancel:
            self.end_cancelled(job)
        else:
            return False
        return True

    def stop(self, patience: float) -> None:
        """Start no more jobs, wait some seconds for running ones, return the others to the queue, and end."""
        self.stopping.set()
        self.notify()
        for worker in self.workers:
            worker.abandon()
        end = monotonic() + patience
        for thread in self.threads:
            thread.join(max(0.0, end - monotonic()))
        for running in list(self.running.values()):
            running.worker.cancel(running.job.id)
        for thread in self.threads:
            thread.join()
        self.store.close()
        self.lock.__exit__(None, None, None)

    def submit(self, user: User, job: CheckedJob, once: Once | None = None) -> Job:
        """Queue a job, or return the one that was sent with the same key.

        Raises QueueFullError, StorageError, RequestError for another job of the same key, and HostError while
        the server is being stopped.
        """
        if self.stopping.is_set():
            raise HostError("the server is being stopped")
        self.storage.require_free()
        added = self.store.add(user.name, job.kind, job.title, job.settings, job.payload, self.limits, once)
        self.notify()
        return added

    def cancel(self, job: Job) -> Job:
        """Cancel a job that waits or runs: a running one ends after its current step. Returns it."""
        job = self.store.cancel(job)
        running = self.running.get(job.id)
        if running is not None and job.state == "running":
            running.worker.cancel(job.id)
        return job

    def remove(self, job: Job) -> None:
        """Remove a job that has ended, with its files."""
        self.storage.remove(job)

    def progress(self, job: Job) -> tuple[int, int]:
        """The steps that are done and all steps of a job that runs; 0 of 0 for another job."""
        running = self.running.get(job.id)
        return (0, 0) if running is None else (running.done, running.total)

    def notify(self) -> None:
        """Wake the threads that wait for a job."""
        with self.changed:
            self.changed.notify_all()

    def work(self, worker: JobWorker) -> None:
        """The thread of a worker: keep it running and give it jobs until the server is stopped."""
        pause = 1.0
        while not self.stopping.is_set():
            if self.served(worker, pause):
                pause = 1.0
            else:
                self.stopping.wait(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
        self.ready.discard(worker.name)
        worker.close()

    def served(self, worker: JobWorker, pause: float) -> bool:
        """Start the worker if needed and give it one job; returns whether it works."""
        try:
            worker.start()
            self.ready.add(worker.name)
            self.settle()
            if (job := self.next_job()) is not None:
                self.make(worker, job)
        except Exception as error:
            self.ready.discard(worker.name)
            if not self.stopping.is_set():
                LOG.error("%s; the next attempt is in %.0f s", error, pause, exc_info=unexpected(error))
            return False
        return True

    def tidy(self) -> None:
        """The thread that removes old jobs, until the server is stopped."""
        while not self.stopping.is_set():
            try:
                self.storage.remove_old()
            except (OSError, CtrlGenError, sqlite3.Error) as error:
                LOG.error("old jobs could not be removed: %s", error)
            self.stopping.wait(TIDY_SECONDS)

    def next_job(self) -> Job | None:
        """Wait for a job and take it; None when the server is being stopped."""
        with self.changed:
            while not self.stopping.is_set():
                if (free := self.storage.is_free) and (job := self.store.claim()) is not None:
                    return job
                self.changed.wait(None if free else FREE_SECONDS)
        return None

    def make(self, worker: JobWorker, job: Job) -> None:
        """Run a job on a worker, and note its outcome.

        Raises HostError and sqlite3.Error if not even a failure can be noted; `settle` notes it later.
        """
        running = self.running[job.id] = Running(job, worker)

        def report(done: int, total: int) -> None:
            running.done, running.total = done, total

        try:
            self.attempt(worker, job, report)
        except (OSError, CtrlGenError, sqlite3.Error) as error:
            LOG.error("job %s: %s", job.id, error)
            self.unsettled[job.id] = job, f"the server could not keep the job's files: {error}"
            self.settle()
        finally:
            del self.running[job.id]
            self.notify()

    def attempt(self, worker: JobWorker, job: Job, report: Report) -> None:
        """Run a job once. Raises OSError, HostError and sqlite3.Error if what became of it cannot be kept."""
        if self.store.require(job.id).cancel:
            self.end_cancelled(job)
            return
        try:
            self.storage.require_started(job)
        except StorageError as error:
            self.store.end(job, "failed", error={"path": "", "message": str(error)})
            return
        folder = self.folders.work(job)
        folder.mkdir(parents=True, exist_ok=True)
        kind = "run" if job.kind == PREVIEW else job.kind
        work = {"id": job.id, "kind": kind, "payload": self.store.payload(job)}
        try:
            outcome = worker.run(work, folder, report)
        except WorkerLostError as error:
            LOG.warning("job %s: %s", job.id, error)
            self.lost(job)
        else:
            self.note(job, outcome)

    def settle(self) -> None:
        """End the jobs whose end could not be noted, as on a full disk. Raises HostError, sqlite3.Error."""
        for job, message in list(self.unsettled.values()):
            if not self.concluded(self.store.require(job.id)):
                self.folders.remove(job.id)
                self.store.end(job, "failed", error={"path": "", "message": message})
            self.unsettled.pop(job.id, None)

    def note(self, job: Job, outcome: Outcome) -> None:
        """Note how a job ended. Raises OSError, HostError and sqlite3.Error if that cannot be kept."""
        if outcome["state"] == "done":
            self.folders.publish(job, outcome["result"])
            self.end_done(job, outcome["result"])
        elif outcome["state"] == "failed":
            self.folders.remove(job.id)
            self.store.end(job, "failed", error=outcome["error"])
        elif self.store.require(job.id).cancel:
            self.end_cancelled(job)
        else:
            self.store.requeue(job)  # the server is being stopped

    def lost(self, job: Job) -> None:
        """Note that the worker of a job was lost, which counts unless the server is being stopped."""
        job = self.store.require(job.id)
        if job.cancel:
            self.end_cancelled(job)
        elif self.stopping.is_set():
            self.store.requeue(job)
        elif job.losses + 1 >= LOSSES:
            self.folders.remove(job.id)
            self.store.end(job, "failed", error={"path": "", "message": GIVEN_UP.format(losses=LOSSES)})
        else:
            self.store.requeue(job, lost=True)

    def end_done(self, job: Job, result: Mapping[str, Any]) -> None:
        """Note the result of a job, whose files are in their place."""
        self.store.end(job, "done", result=result, size=size_of(self.folders.result(job)))

    def end_cancelled(self, job: Job) -> None:
        """End a cancelled job, whose unfinished files are removed; a preview is removed as a whole."""
        self.folders.remove(job.id)
        self.store.end(job, "cancelled")
        if job.kind == PREVIEW:
            self.store.remove(job)


def unexpected(error: Exception) -> Exception | None:
    """The error if its traceback belongs into the log; None for one that CtrlGen raises on purpose."""
    return None if isinstance(error, CtrlGenError) else error
