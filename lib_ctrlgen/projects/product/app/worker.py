"""Does one task at a time in a thread of its own, says how far it is, and can be cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread

from lib_ctrlgen.errors import CtrlGenError, HostError, StoppedError

LINES = 200  # of a task that are kept
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What the worker does, or did last.

    number     of the task, from 1; 0 before the first one
    title      what the task is, for the user
    step       the network calls of the current picture: done, total
    lines      what the task told
    said       its closing sentence
    error      why it failed
    cancelled  whether it was told to end
    """

    number: int = 0
    title: str = ""
    running: bool = False
    phase: str = ""
    done: int = 0
    total: int = 0
    step: tuple[int, int] = (0, 0)
    lines: tuple[str, ...] = ()
    said: str = ""
    error: CtrlGenError | None = None
    cancelled: bool = False


class Worker:
    """A thread for tasks. `tell`, `progress` and `step` are what a task calls; they raise StoppedError."""

    def __init__(self) -> None:
        self.status = Status()
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None

    def start(self, title: str, task: Callable[[], str]) -> None:
        """Begin a task, which returns its closing sentence. Raises HostError while another one runs."""
        with self._lock:
            if self.status.running:
                raise HostError(f"wait until this has ended, or cancel it: {self.status.title}")
            self._stop.clear()
            self.status = Status(number=self.status.number + 1, title=title, running=True)
        self._thread = Thread(target=self._run, args=(task,), name="ctrlgen-product", daemon=True)
        self._thread.start()

    def _run(self, task: Callable[[], str]) -> None:
        try:
            said, error = task(), None
        except StoppedError:
            said, error = "Cancelled. What is finished stays; the same button goes on from there.", None
        except CtrlGenError as found:
            said, error = "", found
        except Exception as found:
            LOG.exception("a task of the page failed")
            said, error = "", HostError(f"{type(found).__name__}: {found}")
        self._change(running=False, said=said, error=error)

    def _change(self, **fields: object) -> None:
        with self._lock:
            self.status = replace(self.status, **fields)  # type: ignore[arg-type]

    @property
    def is_cancelled(self) -> bool:
        """Whether the task is to end."""
        return self._stop.is_set()

    def cancel(self) -> bool:
        """Tell the running task to end after its current step; returns whether one runs."""
        with self._lock:
            if self.status.running:
                self._stop.set()
                self.status = replace(self.status, cancelled=True)
            return self.status.running

    def wait(self, patience: float | None = None) -> None:
        """Wait for the end of the task, for at most some seconds."""
        if self._thread is not None:
            self._thread.join(patience)

    def tell(self, line: str) -> None:
        """Keep a line for the user."""
        self._change(lines=(*self.status.lines, line)[-LINES:])

    def progress(self, phase: str, done: int, total: int) -> None:
        """Keep how far the task is. Raises StoppedError if it was cancelled."""
        self._change(phase=phase, done=done, total=total, step=(0, 0))
        self.require_going()

    def step(self, done: int, total: int) -> None:
        """Keep how far the current picture is. Raises StoppedError if the task was cancelled."""
        self._change(step=(done, total))
        self.require_going()

    def require_going(self) -> None:
        """Raise StoppedError if the task was cancelled."""
        if self.is_cancelled:
            raise StoppedError("cancelled")
