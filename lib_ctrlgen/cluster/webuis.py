"""A worker that generates cells in a running WebUI, through CtrlGen's REST route for tuner jobs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.files import png_text
from lib_ctrlgen.tuner.scoring.catalogue import VERSION
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import CellPictures, Outcome, ScoredCell

from .actor import CellOutcomes, CellRequest, LostError, Maker
from .webui_job import WebUIJob, jobs_of

ROUTE = "/ctrlgen/v1/tune"
PAUSE = 0.5  # seconds between two requests for a job's status
SILENT_SECONDS = 20.0
TIMEOUT = 60.0  # seconds for one response


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
        client = Client.of(self.url)
        try:
            client.call("GET", ROUTE)
        except (LostError, RequestError) as error:
            raise HostError(str(error)) from error
        return WebUIMaker(client, self.silence, self.encoder)


@dataclass(frozen=True, kw_only=True)
class Client:
    """Calls the REST API of one WebUI; `name` is its address without the login."""

    name: str
    session: requests.Session

    @classmethod
    def of(cls, url: str) -> Client:
        """A client for an address. Raises HostError for an invalid address."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            port, parts = "", parts._replace(netloc="")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HostError("--webui takes an address such as http://127.0.0.1:7860")
        session = requests.Session()
        session.trust_env = False
        if parts.username is not None:
            session.auth = (unquote(parts.username), unquote(parts.password or ""))
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        name = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
        return cls(name=name, session=session)

    def call(self, method: str, path: str, payload: Any = None) -> requests.Response:
        """The response to a call.

        Raises LostError where none comes, RequestError for status 422, HostError for a missing route or
        login.
        """
        try:
            answer = self.session.request(method, self.name + path, json=payload, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise LostError(f"the WebUI {self.name} does not answer ({type(error).__name__})") from error
        if answer.status_code == 401:
            raise HostError(f"{self.name} needs a login: --webui http://user:password@host:port")
        if answer.status_code == 404:
            raise HostError(f"{self.name} has no {path}: start it with --api and this version of CtrlGen")
        if answer.status_code == 422:
            raise refused(answer)
        if answer.status_code >= 400 and answer.status_code != 409:
            raise LostError(f"the WebUI {self.name} answers {answer.status_code} {answer.reason}")
        return answer


def refused(answer: requests.Response) -> RequestError:
    """The path and the message of a response with status 422, as an error."""
    try:
        detail = answer.json()["detail"]
        return RequestError(str(detail["path"]), str(detail["message"]))
    except (ValueError, KeyError, TypeError):
        return RequestError("", answer.text[:500])


class WebUIMaker:
    """Makes cells by posting jobs to a WebUI."""

    def __init__(self, client: Client, silence: float = SILENT_SECONDS, encoder: str = "") -> None:
        self.client, self.silence, self.encoder = client, silence, encoder
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
            name, status = self.finished(job)
        except LostError:
            raise
        except CtrlGenError as error:
            yield from ((key, error) for key in job.places)
            return
        by_coords = {cell["coords"][0]: cell for cell in status["cells"]}
        for key, place in job.places.items():
            yield key, self.outcome(name, by_coords[place], job.seeds[key])

    def finished(self, job: WebUIJob) -> tuple[str, Mapping[str, Any]]:
        """Post a job, wait until it is done, and return its name and its last status."""
        answer = self.client.call("POST", ROUTE, job.body)
        if answer.status_code == 409:
            raise LostError(f"{self.client.name} is making the same cells for another client")
        name = quote(str(answer.json()["id"]))
        while True:
            status = self.get(f"{ROUTE}/{name}").json()
            every = status["cells"] and len(status["cells"]) == answer.json()["cells"]
            if status["state"] == "done" or (status["state"] == "failed" and every):
                self.require_version(status)
                return name, dict(status)
            if status["state"] == "failed":
                raise HostError(str(status["error"]))
            if status["state"] in ("interrupted", "stopped"):
                raise LostError(f"the job was {status['state']} in the WebUI {self.client.name}")
            if self.stopped.wait(PAUSE):
                self.client.call("DELETE", f"{ROUTE}/{name}")
                raise LostError("stopped")

    def require_version(self, status: Mapping[str, Any]) -> None:
        """Raise HostError if the WebUI's CtrlGen measures scores with another version."""
        theirs = status.get("scores_version", 1)
        if theirs != VERSION:
            raise HostError(
                f"{self.client.name} measures scores of version {theirs}, here it is {VERSION}: install the "
                "same version of CtrlGen there"
            )

    def get(self, path: str) -> requests.Response:
        """The response to a GET, tried again until it comes. Raises LostError after `silence` seconds."""
        end = monotonic() + self.silence
        answer = self.try_get(path)
        while isinstance(answer, LostError):
            if monotonic() > end or self.stopped.wait(PAUSE):
                raise answer
            answer = self.try_get(path)
        return answer

    def try_get(self, path: str) -> requests.Response | LostError:
        """The response to a GET, or the LostError in its place."""
        try:
            return self.client.call("GET", path)
        except LostError as error:
            return error

    def outcome(self, name: str, cell: Mapping[str, Any], seed: int) -> Outcome:
        """A finished cell with its pictures and scores."""
        if cell["error"]:
            return HostError(str(cell["error"]))
        paths = [f"{ROUTE}/{name}/files/{quote(file)}" for file in cell["files"]]
        images = tuple(Image.open(io.BytesIO(self.get(path).content)) for path in paths)
        made = CellPictures(
            images=tuple(image.convert("RGB") for image in images),
            seeds=tuple(range(seed, seed + len(images))),
            infos=tuple(png_text(str(image.info.get("parameters", ""))) for image in images),
            warnings=tuple(cell.get("warnings", ())),
        )
        scores = (Scores(cell["scores"], cell["reasons"]),)
        return ScoredCell(made=made, scores=scores, spreads=cell["sd"], encoder=str(cell.get("encoder", "")))
