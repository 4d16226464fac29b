"""Runs the jobs of `ctrlgen serve` on a worker, wherever it is. It does not use Ray.

A runner makes the files of a job in a folder. What became of it is a dictionary of JSON types, so that it can
be sent from another process or another machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock, Timer
from typing import Any, Protocol, TypeAlias

from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError

Report: TypeAlias = Callable[[int, int], None]  # steps that are done, and all steps
Outcome: TypeAlias = dict[str, Any]

LOG = logging.getLogger("ctrlgen.serve")
STOP_SECONDS = 60.0  # a job that does not stop in this time is stopped by ending its worker


class JobInterrupted(KeyboardInterrupt):
    """Raised in a job's steps to stop it: the user cancelled it, or the server is being stopped."""


class WorkerLostError(HostError):
    """A worker has ended, or could not be started."""


class Runner(Protocol):
    """Makes the files of jobs."""

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        """Make the files of a job in a folder, and return what the answer says of them.

        `work` has the job's `id`, its `kind` (`run`, `tune` or `story`) and its `payload`. The folder has the
        files that an earlier attempt left there. `report` is called after every step. Raises CtrlGenError,
        and JobInterrupted where `report` does.
        """


class JobWorker(Protocol):
    """A worker as the server sees it: a process on this machine, or an actor of a cluster.

    All methods but `cancel` and `abandon` are called from one thread.
    """

    @property
    def name(self) -> str:
        """For the log."""

    def start(self) -> None:
        """Start the worker, unless it runs. Returns when it is ready. Raises WorkerLostError."""

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> Outcome:
        """Run a job, and return its outcome (see `outcome_of`). Raises WorkerLostError."""

    def cancel(self, job: str) -> None:
        """Stop the job with this id soon, if it runs; called from any thread."""

    def abandon(self) -> None:
        """End the worker if it only starts, and start it no more; called from any thread."""

    def close(self) -> None:
        """End the worker."""


@dataclass
class Stops:
    """The ids of jobs that are to stop, and a report that stops them."""

    ids: set[str]

    def watched(self, job: str, report: Report) -> Report:
        """A report that raises JobInterrupted once the job is to stop."""

        def told(done: int, total: int) -> None:
            if job in self.ids:
                raise JobInterrupted
            report(done, total)

        return told


class StopTimer:
    """Ends the worker of a job that does not stop in some seconds. Thread-safe."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._job = ""
        self._timer: Timer | None = None

    @contextmanager
    def running(self, job: str) -> Iterator[None]:
        """The time in which a job runs; at its end no worker is ended any more."""
        with self._lock:
            self._job = job
        try:
            yield
        finally:
            self.clear()

    def begin(self, job: str, seconds: float, kill: Callable[[], object]) -> None:
        """Call `kill` if the job runs now and still does in some seconds; only the first call counts."""
        with self._lock:
            if job == self._job and self._timer is None:
                self._timer = Timer(seconds, kill)
                self._timer.daemon = True
                self._timer.start()

    def clear(self) -> None:
        """Note that no job runs."""
        with self._lock:
            self._job = ""
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


def outcome_of(runner: Runner, work: Mapping[str, Any], folder: Path, report: Report) -> Outcome:
    """Run a job, and return its `state`: `done` with `result`, `failed` with `error`, or `stopped`."""
    try:
        result = runner.run(work, folder, report)
    except JobInterrupted:
        return {"state": "stopped"}
    except Exception as error:  # noqa: BLE001 - whatever a job raises ends the job, not the worker
        return {"state": "failed", "error": error_of(error)}
    return {"state": "done", "result": result}


def error_of(error: Exception) -> dict[str, str]:
    """The JSON path and the message of an exception; one that nobody expected is logged."""
    if isinstance(error, RequestError):
        return {"path": error.path, "message": error.message}
    if isinstance(error, CtrlGenError):
        return {"path": "", "message": str(error)}
    LOG.error("a job failed", exc_info=error)
    reason = str(error).strip().partition("\n")[0]
    return {"path": "", "message": f"{type(error).__name__}: {reason or 'no message'}"}
