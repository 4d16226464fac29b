"""The client of a server for a team (`ctrlgen serve`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request.server_answers import (
    KEY_HEADER,
    JobAnswer,
    ListedRecipeAnswer,
    MeAnswer,
    ModelsAnswer,
    SavedAnswer,
    WholeJobAnswer,
)
from lib_ctrlgen.request.spec import GenerationRequest, to_payload
from lib_ctrlgen.request.story_pictures import PICTURE, story_parts

from .bodies import with_listed_names
from .connection import Connection, Timeouts
from .errors import UnreachableError, WebUIError
from .jobs import inside
from .pictures import sent, with_sent_pictures
from .reading import read_answer, read_list
from .server_failures import is_passing, json_of, require_success

ENDED = frozenset({"done", "failed", "cancelled"})
PAUSE = 1.0  # seconds between two questions
PATIENCE = 300.0  # seconds without an answer after which a call is given up
Result = TypeVar("Result")


class Token:
    """The token of a user, in the header of each request; no .netrc replaces it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Server:
    """A server for a team, at an address such as `https://example.org`, as the user of a token.

    timeout  seconds until a call is given up, for everything, or a `Timeouts`

    Methods raise the errors of `lib_ctrlgen.client.errors`. Pictures are given as Pillow's images, paths,
    bytes, base64 or data URLs. Threads need an object each.
    """

    def __init__(self, url: str, token: str, timeout: float | Timeouts | None = None) -> None:
        self.connection = Connection.to(url, None, timeout)
        self.connection.session.auth = Token(token)

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    @property
    def url(self) -> str:
        """The address."""
        return self.connection.url

    def run(self, job: Mapping[str, Any] | GenerationRequest, key: str = "") -> ServerJob:
        """Queue a job; one with `tune` is a grid or a search.

        What is sent again with the same `key` is queued once. Without a key the call has one of its own, so a
        lost answer is asked for again and nothing is queued twice.
        """
        content = to_payload(job) if isinstance(job, GenerationRequest) else with_sent_pictures(job)
        return self._queued("/jobs", content, key)

    def story(self, story: Mapping[str, Any], key: str = "") -> ServerJob:
        """Queue a story, whose assets become the pictures of a job; `key` as for `run`."""
        content = deepcopy(dict(story))
        for path, part in story_parts(content):
            if part.get(PICTURE):
                part[PICTURE] = sent(part[PICTURE], f"{path}.{PICTURE}")
        return self._queued("/stories", content, key)

    def job(self, name: str) -> ServerJob:
        """The job of this id."""
        return ServerJob(connection=self.connection, id=name)

    def jobs(self) -> tuple[JobAnswer, ...]:
        """The own jobs, the newest first; of an admin, those of all users."""
        return read_list(self.url, self._json("GET", "/jobs"), JobAnswer)

    def me(self) -> MeAnswer:
        """Whom the token belongs to, and the limits."""
        return read_answer(self.url, self._json("GET", "/me"), MeAnswer)

    def models(self) -> ModelsAnswer:
        """The names of models, preprocessors and samplers that a job may use."""
        return read_answer(self.url, self._json("GET", "/models"), ModelsAnswer)

    def recipes(self) -> tuple[ListedRecipeAnswer, ...]:
        """The recipes of the team, the last saved one first."""
        return read_list(self.url, self._json("GET", "/recipes"), ListedRecipeAnswer)

    def run_recipe(self, name: str, version: str = "", key: str = "") -> ServerJob:
        """Queue a version of a recipe, by default the newest one; `key` as for `run`."""
        return self._queued(f"/recipes/{quote(name, safe='')}/jobs", {"version": version}, key)

    def _queued(self, path: str, content: Mapping[str, Any], key: str) -> ServerJob:
        headers = {KEY_HEADER: key or token_hex(16)}
        body, tried = with_listed_names(content), [False]

        def post() -> Any:
            try:
                found = self.connection.answer("POST", path, body, headers=headers)
            except UnreachableError:
                raise
            except WebUIError:
                tried[0] = True  # it may have been received, so that a restart is worth waiting for
                raise
            return json_of(self.url, found)

        def is_worth_it(error: WebUIError) -> bool:
            return is_passing(error) and (tried[0] or not isinstance(error, UnreachableError))

        found = patiently(post, self.connection.pause, is_worth_it)
        return ServerJob(connection=self.connection, id=read_answer(self.url, found, WholeJobAnswer).id)

    def _json(self, method: str, path: str) -> Any:
        return json_of(self.url, self.connection.answer(method, path))


@dataclass(frozen=True, kw_only=True)
class ServerJob:
    """A job of a server; `id` is its name there."""

    connection: Connection
    id: str

    @property
    def path(self) -> str:
        """The job's route."""
        return f"/jobs/{quote(self.id, safe='')}"

    def status(self) -> WholeJobAnswer:
        """The job with its progress, its assets if it is a story, and its files when it is done."""
        return self._whole("GET", self.path)

    def follow(
        self, report: Callable[[WholeJobAnswer], object] = lambda _job: None, *, pause: float = PAUSE
    ) -> WholeJobAnswer:
        """Wait until the job ends, and return it; `report` is called with each answer.

        Questions that are not answered are asked again for `PATIENCE` seconds, for example during a restart.
        """
        while True:
            job = self._patiently(self.status)
            report(job)
            if job.state in ENDED:
                return job
            self.connection.pause(pause)

    def cancel(self) -> JobAnswer:
        """Cancel the job if it waits or runs; one that has ended is left as it is."""
        path = f"{self.path}/cancel"
        found = self._patiently(lambda: json_of(self.connection.url, self.connection.answer("POST", path)))
        return read_answer(self.connection.url, found, JobAnswer)

    def file(self, path: str) -> bytes:
        """A file of a job that is done, by its path in `files`."""
        return self._patiently(lambda: self._content(f"{self.path}/files/{quote(path)}"))

    def request(self, picture: int = 0) -> bytes:
        """The request that made a picture, as a job in YAML with its pictures in base64."""
        return self._patiently(lambda: self._content(f"{self.path}/pictures/{picture}/job"))

    def fetch(self, folder: Path) -> list[Path]:
        """Write the files of a job that is done into a folder; those that are there are not fetched again.

        Raises HostError for a path that leaves the folder.
        """
        wanted = [(name, inside(folder, name)) for name in self._patiently(self.status).files]
        return [path if path.is_file() else save_bytes(self.file(name), path) for name, path in wanted]

    def save_recipe(self, name: str = "", picture: int | None = None, message: str = "") -> tuple[str, ...]:
        """Save a picture of the job as a recipe of the team, by default the first one, or all of a story.

        Returns the names of the recipes; those of a story are NAME ASSET, by default with its title.
        """
        body = {"job": self.id, "picture": picture, "name": name, "message": message}
        found = json_of(self.connection.url, self.connection.answer("POST", "/recipes", body))
        return tuple(each.name for each in read_list(self.connection.url, found, SavedAnswer))

    def remove(self) -> None:
        """Remove the job, which has ended, with its files. Raises RefusedError if there is none."""
        require_success(self.connection.url, self.connection.answer("DELETE", self.path))

    def _whole(self, method: str, path: str) -> WholeJobAnswer:
        found = json_of(self.connection.url, self.connection.answer(method, path))
        return read_answer(self.connection.url, found, WholeJobAnswer)

    def _content(self, path: str) -> bytes:
        answer = self.connection.answer("GET", path)
        require_success(self.connection.url, answer)
        return bytes(answer.content)

    def _patiently(self, call: Callable[[], Result]) -> Result:
        return patiently(call, self.connection.pause)


def patiently(
    call: Callable[[], Result],
    pause: Callable[[float], object],
    is_worth_it: Callable[[WebUIError], bool] = is_passing,
) -> Result:
    """The result of a call that may be made twice: again for `PATIENCE` seconds while it gets no answer."""
    end = monotonic() + PATIENCE
    while True:
        try:
            return call()
        except WebUIError as error:
            if not is_worth_it(error) or monotonic() > end:
                raise
        pause(PAUSE)
