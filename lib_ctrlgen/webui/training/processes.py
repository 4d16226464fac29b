"""Starts a training as a process of its own, and finds out whether one still runs. Imports no WebUI.

The process leads a session of its own and has a low priority: neither Ctrl-C in the WebUI's terminal nor the
end of the WebUI ends it, and generations come first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from lib_ctrlgen.errors import HostError

NICE = 10  # of POSIX; Windows has a class of its own
SAME = 2.0  # seconds by which the start of one process may be told differently


def start(
    command: Sequence[str], log: Path, variables: Mapping[str, str], ended: Callable[[], None]
) -> tuple[int, float]:
    """Start a process whose output goes into a log file; returns its number and its start as a Unix time.

    `ended` is called in a thread when it has ended, if this process still runs. Raises HostError.
    """
    # On Windows: without a console (0x8), in a process group of its own (0x200).
    flags: dict[str, Any] = (
        {"creationflags": 0x208} if sys.platform == "win32" else {"start_new_session": True}
    )
    try:
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                cwd=log.parent,
                **flags,
            )
    except OSError as error:
        raise HostError(f"the training cannot be started: {error}") from error
    created = _lower_priority(process.pid)
    Thread(target=_wait, args=(process, ended), name="ctrlgen-train", daemon=True).start()
    return process.pid, created


def _lower_priority(number: int) -> float:
    """Let other processes come first; returns the start of the process, 0 if it has ended already."""
    created = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(number)
        created = process.create_time()
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else NICE)
    return created


def _wait(process: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
    process.wait()
    ended()


def is_running(number: int, created: float) -> bool:
    """Whether the process that began at this time runs; a later one with its number does not count."""
    try:
        process = psutil.Process(number)
        same = bool(abs(process.create_time() - created) < SAME)
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end(number: int, created: float) -> None:
    """End a process at once, if it runs."""
    if is_running(number, created):
        with suppress(psutil.Error):
            psutil.Process(number).kill()
