"""The folders of jobs: one for the work, which becomes the result in one step when the job is done."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

    def write_zip(self, job: Job, stream: IO[bytes]) -> None:
        """Write a zip with the files of a job that is done. Pictures are compressed already."""
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name in self.files(job):
                archive.write(self.result(job) / name, name)

    def remove(self, job: Job) -> None:
        """Remove all files of a job."""
        for folder in (self.work(job), self.result(job)):
            shutil.rmtree(folder, ignore_errors=True)


def synchronise(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
