"""A job as the server keeps it."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from lib_ctrlgen.request.server_answers import Kind, State

__all__ = ["LIVE", "PREVIEW", "REQUESTS", "Job", "Kind", "State"]

PREVIEW: Final = "preview"
REQUESTS: tuple[Kind, ...] = ("run", "tune")  # jobs whose content is a request, which the dials can open
LIVE: tuple[State, ...] = ("queued", "running")


class Job(Struct, frozen=True, kw_only=True):
    """A job without its content.

    number    counts the jobs of the server in the order in which they were sent
    id        random letters that name the job over REST
    kind      `run` makes the pictures of a request, `tune` a grid or a search, `story` the assets of a story,
              `preview` a small picture for the page of dials, which no list shows
    title     the beginning of the prompt; the title of a story
    settings  the job as it was sent, with a hash in the place of each picture
    created, started, ended  seconds since 1970; None before that happened
    attempts  how often the job was started; more than once after a lost worker or a restart of the server
    losses    how many workers were lost while they ran it
    cancel    whether the user has asked to cancel it
    error     the JSON path and the message of a failed job
    result    what the worker returned: names of files, warnings
    """

    number: int
    id: str
    user: str
    kind: Kind
    title: str
    state: State
    settings: dict[str, Any]
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    losses: int = 0
    cancel: bool = False
    error: dict[str, str] | None = None
    result: dict[str, Any] | None = None

    @property
    def is_live(self) -> bool:
        """Whether the job waits or runs."""
        return self.state in LIVE
