"""One run per folder: a lock that the operating system releases when the process ends, even by a crash."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder, remove_parts, save_text

LOCK, HOLDER = ".ctrlgen.lock", ".ctrlgen.holder.json"


class FolderInUseError(HostError):
    """Another run of the tuner writes into the folder."""

    status = HTTPStatus.CONFLICT


class FolderLock:
    """Locks a folder in a `with` block, which the same thread may enter again inside itself.

    Unfinished files of an earlier run are removed at the start. Raises FolderInUseError, which names the
    process that has locked the folder, and HostError if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = FileLock(str(folder / LOCK))
        self.depth = 0

    def __enter__(self) -> FolderLock:
        new_folder(self.folder)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise FolderInUseError(in_use(self.folder)) from error
        except (OSError, NotImplementedError) as error:
            raise HostError(f"cannot lock {self.folder}: {error}; choose a folder on a local disk") from error
        try:
            if not self.depth:
                remove_parts(self.folder)
                save_text(json.dumps(this_process()) + "\n", self.folder / HOLDER)
        except BaseException:
            self.lock.release()
            raise
        self.depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.depth -= 1
        if not self.depth:
            (self.folder / HOLDER).unlink(missing_ok=True)
        self.lock.release()


def is_held(folder: Path) -> bool:
    """Whether a run has locked the folder."""
    if not folder.is_dir():
        return False
    lock = FileLock(str(folder / LOCK))
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def in_use(folder: Path) -> str:
    """The error message for a locked folder: which process has locked it, and what to do."""
    try:
        holder = json.loads((folder / HOLDER).read_text("utf-8"))
        process, command = f"process {holder['process']} on {holder['machine']}", holder["command"]
        who = f"{process} ({command}), since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return f"the folder {folder} is in use by {who}: wait until it ends, or choose another folder"


def this_process() -> dict[str, object]:
    """Describes this process, for the error of another process that tries to lock the folder."""
    return {
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
