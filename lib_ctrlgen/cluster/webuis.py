"""A worker that lets a running WebUI make cells, through its job route."""

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
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.tuner.scoring.catalogue import VERSION
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import Judged, Made, Outcome

from .actor import LostError, Maker, Returned, Sent
from .webui_job import WebUIJob, jobs_of

ROUTE = "/ctrlgen/v1/tune"
PAUSE = 0.5  # seconds between two looks at a job
SILENCE = 20.0
TIMEOUT = 60.0  # seconds for one answer


@dataclass(frozen=True, kw_only=True)
class WebUIRecipe:
    """A WebUI by its address, which may hold a login: `http://user:password@host:7860`.

    `encoder` names the CLIP vision encoder that measures likeness there.
    """

    url: str = field(repr=False)
    silence: float = SILENCE  # seconds without an answer after which it counts as lost
    again: bool = False
    encoder: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        """It only waits for answers, and can be told to stop meanwhile."""
        return {"num_cpus": 0, "max_concurrency": 2}

    def build(self) -> Maker:
        """Look whether it is there. Raises HostError."""
        client = Client.of(self.url)
        try:
            client.call("GET", ROUTE)
        except (LostError, RequestError) as error:
            raise HostError(str(error)) from error
        return WebUIMaker(client, self.silence, self.encoder)


@dataclass(frozen=True, kw_only=True)
class Client:
    """REST calls of one WebUI; `name` is its address without the login."""

    name: str
    session: requests.Session

    @classmethod
    def of(cls, url: str) -> Client:
        """A client for an address. Raises HostError for what is none."""
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
        """An answer. Raises LostError without one, RequestError for 422, HostError for what is not there."""
        try:
            answer = self.session.request(method, self.name + path, json=payload, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise LostError(f"the WebUI {self.name} does not answer ({type(error).__name__})") from error
        if answer.status_code == 401:
            raise HostError(f"{self.name} wants a login: --webui http://user:password@host:port")
        if answer.status_code == 404:
            raise HostError(f"{self.name} has no {path}: start it with --api and this version of CtrlGen")
        if answer.status_code == 422:
            raise refused(answer)
        if answer.status_code >= 400 and answer.status_code != 409:
            raise LostError(f"the WebUI {self.name} answers {answer.status_code} {answer.reason}")
        return answer


def refused(answer: requests.Response) -> RequestError:
    """The place and the reason in an answer with 422."""
    try:
        detail = answer.json()["detail"]
        return RequestError(str(detail["path"]), str(detail["message"]))
    except (ValueError, KeyError, TypeError):
        return RequestError("", answer.text[:500])


class WebUIMaker:
    """Makes cells as jobs of a WebUI."""

    def __init__(self, client: Client, silence: float = SILENCE, encoder: str = "") -> None:
        self.client, self.silence, self.encoder = client, silence, encoder
        self.stopped = Event()

    def make(self, cells: Sequence[Sent]) -> Returned:
        """Every cell. Raises LostError when the WebUI dies, or somebody interrupts it there."""
        return [found for job in jobs_of(cells, self.encoder) for found in self.job(job)]

    def stop(self) -> None:
        """Let the WebUI stop, too."""
        self.stopped.set()

    def job(self, job: WebUIJob) -> Iterator[tuple[str, Outcome]]:
        """The cells of one job; what the WebUI refuses is an error of each."""
        try:
            name, said = self.finished(job)
        except LostError:
            raise
        except CtrlGenError as error:
            yield from ((key, error) for key in job.places)
            return
        by_coords = {cell["coords"][0]: cell for cell in said["cells"]}
        for key, place in job.places.items():
            yield key, self.outcome(name, by_coords[place], job.seeds[key])

    def finished(self, job: WebUIJob) -> tuple[str, Mapping[str, Any]]:
        """Post a job and wait for it: its name, and what it says of itself when it is done."""
        answer = self.client.call("POST", ROUTE, job.body)
        if answer.status_code == 409:
            raise LostError(f"{self.client.name} is making the same cells for somebody else")
        name = quote(str(answer.json()["id"]))
        while True:
            said = self.patient(f"{ROUTE}/{name}").json()
            every = said["cells"] and len(said["cells"]) == answer.json()["cells"]
            if said["state"] == "done" or (said["state"] == "failed" and every):
                self.require_version(said)
                return name, dict(said)
            if said["state"] == "failed":
                raise HostError(str(said["error"]))
            if said["state"] in ("interrupted", "stopped"):
                raise LostError(f"the job was {said['state']} in the WebUI {self.client.name}")
            if self.stopped.wait(PAUSE):
                self.client.call("DELETE", f"{ROUTE}/{name}")
                raise LostError("stopped")

    def require_version(self, said: Mapping[str, Any]) -> None:
        """Raise HostError for a WebUI whose CtrlGen measures scores in another way."""
        theirs = said.get("scores_version", 1)
        if theirs != VERSION:
            raise HostError(
                f"{self.client.name} measures scores of version {theirs}, here it is {VERSION}: install the "
                "same version of CtrlGen there"
            )

    def patient(self, path: str) -> requests.Response:
        """An answer of a WebUI that may be silent for a while. Raises LostError after that."""
        end = monotonic() + self.silence
        answer = self.attempt(path)
        while isinstance(answer, LostError):
            if monotonic() > end or self.stopped.wait(PAUSE):
                raise answer
            answer = self.attempt(path)
        return answer

    def attempt(self, path: str) -> requests.Response | LostError:
        """An answer, or that there is none."""
        try:
            return self.client.call("GET", path)
        except LostError as error:
            return error

    def outcome(self, name: str, cell: Mapping[str, Any], seed: int) -> Outcome:
        """A finished cell with its pictures."""
        if cell["error"]:
            return HostError(str(cell["error"]))
        paths = [f"{ROUTE}/{name}/files/{quote(file)}" for file in cell["files"]]
        images = tuple(Image.open(io.BytesIO(self.patient(path).content)) for path in paths)
        made = Made(
            images=tuple(image.convert("RGB") for image in images),
            seeds=tuple(range(seed, seed + len(images))),
            infos=tuple(map(info_of, images)),
            warnings=tuple(cell.get("warnings", ())),
        )
        scores = (Scores(cell["scores"], cell["reasons"]),)
        return Judged(made=made, scores=scores, spreads=cell["sd"], encoder=str(cell.get("encoder", "")))


def info_of(image: Image.Image) -> PngInfo:
    """The text that the WebUI wrote into a picture."""
    info = PngInfo()
    info.add_itxt("parameters", str(image.info.get("parameters", "")))
    return info
