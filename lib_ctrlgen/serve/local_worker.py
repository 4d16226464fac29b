"""A worker process on this machine, as the server sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, TextIO, cast

from lib_ctrlgen.cluster.job_runs import STOP_SECONDS, Outcome, Report, StopTimer, WorkerLostError

PACKAGE = Path(__file__).resolve().parents[1]
PROGRAM = "lib_ctrlgen.serve.worker_program"
ENGINE = "lib_ctrlgen.serve.engine_runner:build"
CLOSE_SECONDS = 5.0


@dataclass
class LocalWorker:
    """Starts the process when it is needed, and a new one when it was lost.

    options  for the builder, as JSON types
    builder  `module:function` that makes the runner in the process
    patience seconds in which a cancelled job has to stop
    """

    name: str
    options: Mapping[str, Any]
    builder: str = ENGINE
    patience: float = STOP_SECONDS
    process: subprocess.Popen[str] | None = None
    _starts: bool = False
    _abandoned: bool = False
    _lock: Any = field(default_factory=RLock)
    _timer: StopTimer = field(default_factory=StopTimer)

    @property
    def pid(self) -> int | None:
        """The number of the running process, or None."""
        return None if self.process is None or self.process.poll() is not None else self.process.pid

    def start(self) -> None:
        """Start the process, unless it runs, and wait until it is ready. Raises WorkerLostError."""
        if self.pid is not None:
            return
        self.close()
        with self._lock:
            if self._abandoned:
                raise WorkerLostError(f"{self.name} is not started: the server is being stopped")
            self._starts, self.process = True, self.started()
        try:
            message = self.received()
        finally:
            self._starts = False
        if "broken" in message:
            raise WorkerLostError(f"{self.name} cannot work: {message['broken']}")

    def started(self) -> subprocess.Popen[str]:
        """A new process."""
        return subprocess.Popen(
            [sys.executable, "-m", PROGRAM, self.builder, json.dumps(self.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(),
            bufsize=1,
        )

    def abandon(self) -> None:
        """End the process if it only starts, and start it no more."""
        with self._lock:
            self._abandoned = True
            if self._starts and self.process is not None:
                self.process.kill()

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> Outcome:
        """Run a job; see `JobWorker`. Raises WorkerLostError."""
        with self._timer.running(work["id"]):
            self.send({**work, "folder": str(folder)})
            while True:
                message = self.received()
                if "outcome" in message:
                    return dict(message["outcome"])
                report(message["done"], message["total"])

    def cancel(self, job: str) -> None:
        """Stop a job; its worker is ended if that takes too long."""
        with self._lock:
            with suppress(WorkerLostError):
                self.send({"stop": job})
            if self.process is not None:
                self._timer.begin(job, self.patience, self.process.kill)

    def close(self) -> None:
        """End the process: its input ends, and if it does not end by that, it is killed."""
        self._timer.clear()
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(OSError):
            cast("TextIO", process.stdin).close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        cast("TextIO", process.stdout).close()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises WorkerLostError."""
        try:
            with self._lock:
                cast("TextIO", cast("subprocess.Popen[str]", self.process).stdin).write(
                    json.dumps(message) + "\n"
                )
        except (OSError, ValueError, AttributeError) as error:
            raise WorkerLostError(f"{self.name} has ended") from error

    def received(self) -> dict[str, Any]:
        """The next message. Raises WorkerLostError where the process has ended."""
        process = cast("subprocess.Popen[str]", self.process)
        line = cast("TextIO", process.stdout).readline()
        if not line.endswith("\n"):
            raise WorkerLostError(f"{self.name} has ended with code {process.wait()}")
        return dict(json.loads(line))


def environment() -> dict[str, str]:
    """The environment of a worker: this one's, in which this copy of the package is found first."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
