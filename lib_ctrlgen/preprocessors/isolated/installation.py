"""Builds an environment beside its final place, tests it, and renames it when it is whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TypeAlias
from uuid import uuid4

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.files import PART
from lib_ctrlgen.models.published import is_offline

from .environment import COMPLETE, Environment, python_in, variables
from .terms import awaited

Report: TypeAlias = Callable[[str], None]

SPARE = 200_000_000  # bytes that stay free on the disk
SILENCE = 900.0  # seconds without a line of pip
LEFT_OVER = 86400.0  # seconds after which an unfinished environment is nobody's
SHOWN = 3  # lines of pip in an error


def installed(environment: Environment, report: Report) -> Path:
    """Install an environment, if it is not there, and return its folder. `report` gets lines of progress.

    pip's settings and variables for proxies and mirrors are honoured. Raises HostError without a network
    (also where HF_HUB_OFFLINE is set and pip may use it), without enough space on the disk, when a step fails
    and when it is cancelled. Then nothing is left of it, and an environment that was there is unchanged.
    """
    if works(environment):
        return environment.folder
    require_possible(environment)
    _remove_leftovers(environment)
    part = environment.folder.parent / f".{environment.name}-{uuid4().hex}{PART}"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _build(environment, part, report)
        _put(part, environment.folder)
    except OSError as error:
        raise HostError(f"cannot write {part}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for folder in environment.folder.parent.glob(f"{environment.name}-*"):
        if folder != environment.folder:  # of other versions
            shutil.rmtree(folder, ignore_errors=True)
    return environment.folder


def works(environment: Environment) -> bool:
    """Whether the environment is there, and its module can be imported."""
    if not environment.is_installed:
        return False
    try:
        _test(environment, environment.folder, lambda _line: None)
    except HostError:
        return False
    return True


def require_possible(environment: Environment) -> None:
    """Raise HostError if the environment cannot be installed here, before anything is written."""
    if is_offline() and not os.environ.get("PIP_NO_INDEX"):
        raise HostError(
            f"HF_HUB_OFFLINE is set, so {environment.name} is not installed; with PIP_NO_INDEX=1 and "
            "PIP_FIND_LINKS=FOLDER, pip takes the packages from a folder"
        )
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise HostError(
            f"{sys.executable} cannot make virtual environments (venv or ensurepip is missing; on Debian and "
            "Ubuntu the package python3-venv has them): run the command with another Python"
        )
    folder = next(each for each in environment.folder.parents if each.exists())
    free = shutil.disk_usage(folder).free
    if environment.size + SPARE > free:
        raise HostError(
            f"{environment.name} needs {environment.size / 1e9:.2f} GB on the disk of {folder}, where only "
            f"{free / 1e9:.2f} GB are free: make room, or set CTRLGEN_CACHE to another folder"
        )


def _build(environment: Environment, folder: Path, report: Report) -> None:
    """Make an environment in a folder, install its packages and test it. Raises HostError."""
    report(f"making the environment {environment.name}")
    _run("making the environment", [sys.executable, "-m", "venv", str(folder)], report)
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--progress-bar", "off"]
    pip = [str(python_in(folder)), "-m", "pip", "--disable-pip-version-check"]
    _run("pip", [*pip, "install", *options, *environment.packages], report)
    _test(environment, folder, report)
    content = {"packages": environment.packages, "python": sys.version.split()[0]}
    (folder / COMPLETE).write_text(json.dumps(content), "utf-8")


def _test(environment: Environment, folder: Path, report: Report) -> None:
    """Import the environment's module in it. Raises HostError."""
    command = [str(python_in(folder)), "-I", "-c", f"import {environment.module}"]
    _run(f"importing {environment.module}", command, report)


def _remove_leftovers(environment: Environment) -> None:
    """Remove what installations left that were killed; younger ones may still be running."""
    for part in environment.folder.parent.glob(f".{environment.name}-*{PART}*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFT_OVER:
                shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, folder: Path) -> None:
    """Rename an environment to its final name, in the place of one that does not work."""
    broken = part.with_name(f"{part.name}.old")
    with suppress(FileNotFoundError):
        folder.replace(broken)
    part.replace(folder)
    shutil.rmtree(broken, ignore_errors=True)


def _run(what: str, command: Sequence[str], report: Report) -> None:
    """Run a command and report its lines. Raises HostError with its last lines if it fails."""
    lines = []
    popen = _started(what, command, variables())
    try:
        queue: Queue[str | None] = Queue()
        Thread(target=_read, args=(popen, queue), daemon=True).start()
        while (line := awaited(queue, SILENCE, what)) is not None:
            lines.append(line)
            report(line)
        code = popen.wait()
    except ModelError as error:
        raise HostError(str(error)) from error
    finally:
        _kill(popen)
    if code:
        reasons = [line for line in lines if "ERROR" in line] or lines
        raise HostError(
            f"{what} failed with exit code {code}: {' | '.join(reasons[-SHOWN:]) or 'no message'}"
        )


def _started(what: str, command: Sequence[str], given: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(given),
            start_new_session=True,  # Ctrl-C reaches this process alone, which then kills all of them
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise HostError(f"{what} failed: {error}") from error


def _kill(popen: subprocess.Popen[str]) -> None:
    """Kill a process that still runs, and what it has started."""
    if popen.poll() is None:
        if sys.platform == "win32":
            popen.kill()
        else:
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


def _read(popen: subprocess.Popen[str], queue: Queue[str | None]) -> None:
    """Put each line of a process into a queue, and None at the end."""
    if popen.stdout is not None:
        with suppress(ValueError), popen.stdout:
            for line in popen.stdout:
                if line.strip():
                    queue.put(line.strip())
    queue.put(None)
