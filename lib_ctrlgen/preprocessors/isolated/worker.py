"""A process that answers calls one at a time: started by the first call, stopped when it is idle.

>>> from lib_ctrlgen.preprocessors.isolated import worker
>>> worker.Limits().idle
180.0
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Lock, Thread, Timer
from typing import Any, BinaryIO, cast
from weakref import ReferenceType, finalize, ref

from lib_ctrlgen.errors import ModelError

from . import server
from .server import Frame, read_frame, write_frame
from .terms import awaited

PATIENCE = 2.0  # seconds in which a process may end by itself
LINES = 8  # of stderr, in errors
# CREATE_NO_WINDOW and CREATE_NEW_PROCESS_GROUP
FLAGS = 0x08000200 if sys.platform == "win32" else 0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds: for the start (imports), for one call, and without a call before the process is stopped."""

    start: float = 120.0
    call: float = 120.0
    idle: float = 180.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a worker process runs.

    python       the Python of its environment
    file         the file with the function `answer`
    variables    its environment variables
    advice       the end of the error when it does not start
    """

    python: Path
    file: Path
    variables: Mapping[str, str]
    advice: str = ""

    @property
    def command(self) -> list[str]:
        """The command: `-I` keeps the current folder, PYTHONPATH and the user's packages out."""
        return [str(self.python), "-I", str(Path(server.__file__).resolve()), str(self.file)]


class Worker:
    """A process in an environment of its own. Thread-safe: a second call waits until the first is answered.

    The process starts with the first call and is stopped after `limits.idle` seconds without one, when this
    object is not used any more, and when Python exits. After a crash the next call starts another one.
    """

    def __init__(self, name: str, program: Program, limits: Limits) -> None:
        self.name = name
        self.program = program
        self.limits = limits
        self._lock = Lock()
        self._process: Process | None = None
        self._timer: Timer | None = None

    @property
    def pid(self) -> int | None:
        """The number of the running process; None if there is none."""
        process = self._process
        return process.popen.pid if process is not None and process.popen.poll() is None else None

    def call(self, header: Mapping[str, Any], data: bytes = b"") -> Frame:
        """The answer to a call. Raises ModelError with the reason, and HostError when it is cancelled.

        When the process crashed, does not answer in time or when waiting is interrupted, it is killed.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            process = self._running()
            try:
                found = process.exchanged((header, data), self.limits.call)
            except BaseException:
                self._end(patience=0)
                raise
            self._timer = Timer(self.limits.idle, _stop_idle, (ref(self), ref(process)))
            self._timer.daemon = True
            self._timer.start()
        if "error" in found[0]:
            raise ModelError(f"{self.name}: {found[0]['error']}")
        return found

    def stop(self) -> None:
        """Stop the process, if one is running, after the call that it answers."""
        with self._lock:
            self._end(PATIENCE)

    def stop_idle(self, process: Process) -> None:
        """Stop this process, unless a call uses it now."""
        if self._lock.acquire(blocking=False):
            try:
                if self._process is process:
                    self._end(PATIENCE)
            finally:
                self._lock.release()

    def _running(self) -> Process:
        """The running process, or a new one that is ready. Raises ModelError if it does not start."""
        if self._process is not None and self._process.popen.poll() is None:
            return self._process
        self._end(patience=0)
        try:
            self._process = Process(self.name, self.program)
            self._process.exchanged(None, self.limits.start)
        except ModelError as error:
            self._end(patience=0)
            raise ModelError(f"{error}{self.program.advice}") from error
        except BaseException:
            self._end(patience=0)
            raise
        return self._process

    def _end(self, patience: float) -> None:
        if self._process is not None:
            end(self._process.popen, patience)
            self._process = None


def _stop_idle(worker: ReferenceType[Worker], process: ReferenceType[Process]) -> None:
    used, running = worker(), process()
    if used is not None and running is not None:
        used.stop_idle(running)


class Process:
    """One process of a worker, and the last lines that it wrote to stderr."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=LINES)
        try:
            self.popen = subprocess.Popen(
                program.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=program.python.parent,
                env=dict(program.variables),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the other one
                creationflags=FLAGS,
            )
        except OSError as error:
            raise ModelError(
                f"the worker of {name} cannot be started with {program.python}: {error}"
            ) from error
        finalize(self, end, self.popen, 0)  # also when Python exits
        self.reader = _thread(_collect, self.popen.stderr, self.lines)

    def exchanged(self, call: tuple[Mapping[str, Any], bytes] | None, seconds: float) -> Frame:
        """The next frame of the process, after a call has been written if there is one.

        Raises ModelError if the process ends or does not answer in time, HostError when it is cancelled.
        """
        answers: Queue[Frame | Exception] = Queue()
        _thread(_exchange, self.popen, call, answers)
        found = awaited(answers, seconds, f"the worker of {self.name}")
        if isinstance(found, Exception):
            raise ModelError(self._ended(found)) from found
        return found

    def _ended(self, error: Exception) -> str:
        """The message for a process that ended, or wrote something else than frames."""
        why = f"broke its protocol ({error})"
        if not isinstance(error, ValueError):  # its pipes are closed, so it ends
            with suppress(subprocess.TimeoutExpired):
                why = f"ended with exit code {self.popen.wait(PATIENCE)}"
            self.reader.join(PATIENCE)
        said = " | ".join(line for line in self.lines if line)
        return f"the worker of {self.name} {why}; it wrote: {said or 'nothing'}"


def end(popen: subprocess.Popen[bytes], patience: float) -> None:
    """End a process: within `patience` seconds by itself, as its stdin is closed; else it is killed."""
    if patience and popen.stdin is not None:
        with suppress(OSError):
            popen.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            popen.wait(patience)
    if popen.poll() is None:
        popen.kill()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(PATIENCE)
    for stream in (popen.stdin, popen.stdout):
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.close()


def _exchange(
    popen: subprocess.Popen[bytes],
    call: tuple[Mapping[str, Any], bytes] | None,
    answers: Queue[Frame | Exception],
) -> None:
    """Write a call, read a frame, and put it or the error into the queue."""
    try:
        if call is not None:
            write_frame(cast("BinaryIO", popen.stdin), *call)
        answers.put(read_frame(cast("BinaryIO", popen.stdout)))
    except (OSError, ValueError, EOFError) as error:
        answers.put(error)


def _collect(stream: BinaryIO, lines: deque[str]) -> None:
    """Keep the last lines of a stream until it ends."""
    with suppress(OSError, ValueError), stream:
        lines.extend(line.decode("utf-8", "replace").strip()[:300] for line in stream)


def _thread(work: Callable[..., None], *given: Any) -> Thread:
    """A running thread that does not keep Python from exiting."""
    thread = Thread(target=work, args=given, daemon=True)
    thread.start()
    return thread
