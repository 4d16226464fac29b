"""A worker that generates cells in a running WebUI, through CtrlGen's REST route for tuner jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from time import monotonic
from typing import Any, TypeVar

from lib_ctrlgen.client.connection import Connection
from lib_ctrlgen.client.errors import RefusedError
from lib_ctrlgen.client.jobs import PASSING, TuneJob, listed_jobs, post_job
from lib_ctrlgen.client.pictures import Picture
from lib_ctrlgen.errors import CtrlGenError, HostError
from lib_ctrlgen.files import png_text
from lib_ctrlgen.request.answers import JobCell, JobStatus
from lib_ctrlgen.tuner.scoring.catalogue import VERSION
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import CellPictures, Outcome, ScoredCell

from .actor import CellOutcomes, CellRequest, LostError, Maker
from .webui_job import WebUIJob, jobs_of

PAUSE = 0.5  # seconds between two requests for a job's status
SILENT_SECONDS = 20.0

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class WebUIRecipe:
    """Connects to a WebUI; the address may hold a login: `http://user:password@host:7860`.

    `encoder` is the name of the CLIP vision encoder that measures likeness there.
    """

    url: str = field(repr=False)
    silence: float = SILENT_SECONDS  # seconds without a response after which the WebUI counts as lost
    restartable: bool = False
    encoder: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        """No CPU cores, because it only waits; two calls at a time, so that it can be stopped."""
        return {"num_cpus": 0, "max_concurrency": 2}

    def build(self) -> Maker:
        """Connect to the WebUI. Raises HostError where it does not answer."""
        try:
            connection = replace(Connection.to(self.url), tries=1)
            listed_jobs(connection)
        except CtrlGenError as error:
            raise HostError(f"--webui: {error}") from error
        return WebUIMaker(connection, self.silence, self.encoder)


class WebUIMaker:
    """Makes cells by posting jobs to a WebUI."""

    def __init__(self, connection: Connection, silence: float = SILENT_SECONDS, encoder: str = "") -> None:
        self.connection, self.silence, self.encoder = connection, silence, encoder
        self.stopped = Event()

    def make(self, cells: Sequence[CellRequest]) -> CellOutcomes:
        """Make every cell. Raises LostError when the WebUI is gone or a user interrupts it there."""
        return [found for job in jobs_of(cells, self.encoder) for found in self.job(job)]

    def stop(self) -> None:
        """Also stop the job in the WebUI."""
        self.stopped.set()

    def job(self, job: WebUIJob) -> Iterator[tuple[str, Outcome]]:
        """The outcomes of a job's cells; where the WebUI rejects the job, the error of each."""
        try:
            posted, status = self.finished(job)
        except LostError:
            raise
        except CtrlGenError as error:
            yield from ((key, error) for key in job.places)
            return
        by_coords = {cell.coords[0]: cell for cell in status.cells}
        for key, place in job.places.items():
            yield key, self.outcome(posted, by_coords[place], job.seeds[key])

    def finished(self, job: WebUIJob) -> tuple[TuneJob, JobStatus]:
        """Post a job, wait until it is done, and return it with its last status."""
        posted = self.posted(job.body)
        count = len(set(job.places.values()))
        while True:
            status = self.patiently(posted.status)
            every = len(status.cells) == count
            if status.state == "done" or (status.state == "failed" and every):
                self.require_version(status)
                return posted, status
            if status.state == "failed":
                raise HostError(status.error)
            if status.state in ("interrupted", "stopped"):
                raise LostError(f"the job was {status.state} in the WebUI {self.connection.url}")
            if self.stopped.wait(PAUSE):
                posted.interrupt()
                raise LostError("stopped")

    def posted(self, body: Mapping[str, Any]) -> TuneJob:
        """The job that was started. Raises LostError if nobody answers, or another client's job runs."""
        try:
            return post_job(self.connection, body["tune"], body["request"], body["tab"])
        except RefusedError as error:
            if error.http_status != 409:
                raise
            message = f"{self.connection.url} is making the same cells for another client"
            raise LostError(message) from error
        except PASSING as error:
            raise LostError(str(error)) from error

    def require_version(self, status: JobStatus) -> None:
        """Raise HostError if the WebUI's CtrlGen measures scores with another version."""
        if status.scores_version != VERSION:
            raise HostError(
                f"{self.connection.url} measures scores of version {status.scores_version}, here it is "
                f"{VERSION}: install the same version of CtrlGen there"
            )

    def patiently(self, call: Callable[[], Found]) -> Found:
        """The result of a call, tried again until it comes. Raises LostError after `silence` seconds."""
        end = monotonic() + self.silence
        found = tried(call)
        while isinstance(found, LostError):
            if monotonic() > end or self.stopped.wait(PAUSE):
                raise found
            found = tried(call)
        return found

    def outcome(self, job: TuneJob, cell: JobCell, seed: int) -> Outcome:
        """A finished cell with its pictures and scores."""
        if cell.error:
            return HostError(cell.error)
        images = [Picture(data=self.file(job, path)).image for path in cell.files]
        made = CellPictures(
            images=tuple(image.convert("RGB") for image in images),
            seeds=tuple(range(seed, seed + len(images))),
            infos=tuple(png_text(str(image.info.get("parameters", ""))) for image in images),
            warnings=tuple(cell.warnings),
        )
        scores = (Scores(cell.scores, cell.reasons),)
        return ScoredCell(made=made, scores=scores, spreads=cell.sd, encoder=cell.encoder)

    def file(self, job: TuneJob, path: str) -> bytes:
        """A file of a job."""
        return self.patiently(lambda: job.file(path))


def tried(call: Callable[[], Found]) -> Found | LostError:
    """The result of a call, or a LostError where no answer came."""
    try:
        return call()
    except PASSING as error:
        return LostError(str(error))
