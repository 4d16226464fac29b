"""The folders of jobs: one for the work, which becomes the result in one step when the job is done."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.files import save_text

from .records import Job

RESULT = ".result.json"  # hidden: what the worker returned, for a server that is killed before it notes it
JOB = "job.json"


@dataclass(frozen=True)
class JobFolders:
    """The folders of all jobs, below the server's own folder."""

    root: Path

    def work(self, job: Job) -> Path:
        """The folder in which a worker makes the files of a job."""
        return self.root / "work" / job.id

    def result(self, job: Job) -> Path:
        """The folder with the files of a job that is done."""
        return self.root / "results" / job.id

    @property
    def recipes(self) -> Path:
        """The library of the team's recipes."""
        return self.root / "recipes"

    def current(self, job: Job) -> Path:
        """The folder that has the files of a job now: those of the result, or the unfinished ones."""
        return self.result(job) if job.state == "done" else self.work(job)

    def publish(self, job: Job, result: Mapping[str, Any]) -> None:
        """Turn the work into the result; both names are on the disk when this returns.

        Raises OSError and HostError.
        """
        work, target = self.work(job), self.result(job)
        save_text(json.dumps(job.settings, indent=2, ensure_ascii=False) + "\n", work / JOB)
        save_text(json.dumps(dict(result)), work / RESULT)
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in (*[path for path in work.rglob("*") if path.is_dir()], work):
            synchronise(folder)
        work.replace(target)
        synchronise(target.parent)

    def published(self, job: Job) -> dict[str, Any] | None:
        """What the worker returned, if the result of a job is complete."""
        try:
            return dict(json.loads((self.result(job) / RESULT).read_text("utf-8")))
        except OSError:
            return None

    def files(self, job: Job) -> list[str]:
        """The paths of the files of a job that is done, sorted; none for another job."""
        folder = self.result(job)
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return sorted(
            path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)
        )

    def file(self, job: Job, name: str) -> Path | None:
        """The file with this path in the result of a job; None for any other name."""
        return self.result(job) / name if name in self.files(job) else None

    def zip(self, job: Job) -> Iterator[bytes]:
        """A zip with the files of a job that is done, in parts: it is written nowhere.

        Pictures are compressed already. Entries are deflated without compression, because programs that read
        a zip from its beginning find the end of a stored entry only where its size stands before it.
        """
        written = Written()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:  # type: ignore[call-overload]
            for name in self.files(job):
                archive.write(self.result(job) / name, name)
                yield from written.taken()
        yield from written.taken()

    def remove(self, job: str) -> None:
        """Remove all files of the job with this id."""
        for folder in (self.root / "work" / job, self.root / "results" / job):
            shutil.rmtree(folder, ignore_errors=True)

    def has_files(self, job: str) -> bool:
        """Whether the job with this id has a folder."""
        return any((self.root / name / job).exists() for name in ("work", "results"))


class Written:
    """A stream without places, whose content is taken as it grows."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep some bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing."""

    def taken(self) -> list[bytes]:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return parts


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder; 0 without one."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # git's own files come and go
            size += path.lstat().st_size if path.is_file() else 0
    return size


def synchronise(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
