"""Tuner jobs on a WebUI: post one, follow its progress, fetch its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import Any
from urllib.parse import quote

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request.answers import JobAccepted, JobListed, JobStatus
from lib_ctrlgen.request.recipe_answers import RecipeSaved

from .connection import Connection
from .errors import AnswerTimeoutError, ConnectionLostError, ServerError, UnreachableError
from .reading import read_answer, read_list

ROUTE = "/ctrlgen/v1/tune"
REPORT = "report.html"
ENDED = frozenset({"done", "failed", "interrupted", "stopped"})
PAUSE = 0.5  # seconds between two questions for a job's status
PATIENCE = 20.0  # seconds without an answer after which a job is given up
PASSING = (AnswerTimeoutError, ConnectionLostError, ServerError, UnreachableError)


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """A job of a WebUI's tuner; `id` is its name, and that of its folder there."""

    connection: Connection
    id: str

    @property
    def path(self) -> str:
        """The job's route."""
        return f"{ROUTE}/{quote(self.id, safe='')}"

    def status(self) -> JobStatus:
        """The progress and the finished cells. Raises the errors of `lib_ctrlgen.client.errors`."""
        return read_answer(self.connection.url, self.connection.json("GET", self.path), JobStatus)

    def follow(
        self,
        report: Callable[[JobStatus], object] = lambda _status: None,
        *,
        pause: float = PAUSE,
        patience: float = PATIENCE,
    ) -> JobStatus:
        """Wait until the job ends, and return its last status; `report` is called with each one.

        Questions that are not answered are asked again for `patience` seconds. The last `state` is `done`,
        `failed`, `interrupted` or `stopped`.
        """
        end = monotonic() + patience
        while True:
            try:
                status = self.status()
            except PASSING:
                if monotonic() > end:
                    raise
            else:
                end = monotonic() + patience
                report(status)
                if status.state in ENDED:
                    return status
            self.connection.pause(pause)

    def interrupt(self) -> JobStatus:
        """Interrupt the job, or take it out of the queue; finished cells are kept."""
        return read_answer(self.connection.url, self.connection.json("DELETE", self.path), JobStatus)

    def save_recipe(self, recipe: str, cell: str = "", picture: int = 0, message: str = "") -> RecipeSaved:
        """Save a finished cell as a recipe of the WebUI, by default the recommended one.

        `cell` is the 16 hexadecimal digits in its pictures' file names; `picture` counts its pictures.
        """
        body = {"recipe": recipe, "cell": cell, "picture": picture, "message": message}
        found = self.connection.json("POST", f"{self.path}/recipe", body)
        return read_answer(self.connection.url, found, RecipeSaved)

    def file(self, path: str) -> bytes:
        """A file of the job's folder, such as `report.html` or a path in a cell's `files`."""
        return self.connection.content(f"{self.path}/files/{quote(path)}")

    def fetch(self, folder: Path, paths: Iterable[str] | None = None) -> list[Path]:
        """Write files of the job into a folder: by default the report and the pictures of all cells.

        Raises HostError for a path that leaves the folder.
        """
        names = [REPORT, *self.pictures()] if paths is None else list(paths)
        return [save_bytes(self.file(name), inside(folder, name)) for name in names]

    def pictures(self) -> list[str]:
        """The paths of the pictures of all finished cells in the job's folder."""
        return [file for cell in self.status().cells for file in cell.files]


def inside(folder: Path, name: str) -> Path:
    """The path in a folder of a file that a server names. Raises HostError for one that leaves the folder."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not parts.parts:
        raise HostError(f"the server names a file outside of the job's folder: {name!r}")
    return folder.joinpath(*parts.parts)


def post_job(
    connection: Connection, tune: Mapping[str, Any], body: Mapping[str, Any], tab: str = "txt2img"
) -> TuneJob:
    """Start a job, or continue the one of the same name. Raises RefusedError (409 while it runs)."""
    posted = {"tab": tab, "request": body, "tune": tune}
    accepted = read_answer(connection.url, connection.json("POST", ROUTE, posted), JobAccepted)
    return TuneJob(connection=connection, id=accepted.id)


def listed_jobs(connection: Connection) -> tuple[JobListed, ...]:
    """All jobs of a WebUI, the newest first."""
    found = connection.json("GET", ROUTE)
    return read_list(connection.url, found, JobListed)
