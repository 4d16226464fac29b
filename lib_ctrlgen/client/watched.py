"""A generation on a WebUI whose progress is shown, and which Ctrl-C interrupts there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from threading import Thread
from typing import Any, Literal, TypeAlias

from .connection import Connection
from .errors import NotAWebUIError, RefusedError, WebUIError
from .pictures import Picture
from .results import Generated, progress_of
from .webui import WebUI

ROUTE = "/internal/progress"
PAUSE = 0.5  # seconds between two questions
NO_PREVIEW = -1

State: TypeAlias = Literal["waiting", "running", "ended"]


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """How far a generation is.

    state         whether it waits for its turn, runs, or ended
    share         of the work that is done, 0 to 1
    text          the WebUI's own, such as `In queue: 2/3`
    preview       a picture that was not reported before
    preview_id    its number
    """

    state: State
    share: float = 0.0
    text: str = ""
    preview: Picture | None = None
    preview_id: int = NO_PREVIEW


Report: TypeAlias = Callable[[TaskProgress], object]


def watched(
    webui: WebUI,
    tab: str,
    body: Mapping[str, Any],
    report: Report = lambda _progress: None,
    *,
    previews: bool = False,
    pause: float = PAUSE,
) -> Generated:
    """Post a body, report the progress until the pictures are there, and return them.

    After a KeyboardInterrupt the generation is interrupted in the WebUI as soon as it runs, and the exception
    is raised when it has ended; a second one is raised at once. Raises the errors of
    `lib_ctrlgen.client.errors`.
    """
    task = f"task(ctrlgen-{token_hex(8)})"
    future: Future[Generated] = Future()
    work = Thread(target=_run, args=(future, webui, tab, {**body, "force_task_id": task}), daemon=True)
    work.start()
    questions = Questions(webui.connection.again(), task, previews)
    try:
        while not _ended(future, pause):
            report(questions.ask())
    except KeyboardInterrupt:
        _interrupt(future, questions, pause)
        raise
    return future.result()


def _run(future: Future[Generated], webui: WebUI, tab: str, body: Mapping[str, Any]) -> None:
    try:
        future.set_result(webui.generate(tab, body))
    except BaseException as error:  # noqa: BLE001 - raised again where the result is read
        future.set_exception(error)


def _ended(future: Future[Generated], seconds: float) -> bool:
    """Whether the generation ended within some seconds."""
    with suppress(WaitTimeout, TimeoutError):
        future.exception(seconds)
    return future.done()


def _interrupt(future: Future[Generated], questions: Questions, pause: float) -> None:
    """Interrupt the generation once it runs, and wait for its end. Other generations are left alone."""
    while not future.done():
        if questions.ask().state == "running":
            with suppress(WebUIError, RefusedError):
                questions.connection.json("POST", "/sdapi/v1/interrupt")
        _ended(future, pause)


class Questions:
    """Asks how far one generation is. Without the page's own route, it asks what the API's route says."""

    def __init__(self, connection: Connection, task: str, previews: bool) -> None:
        self.connection, self.task, self.previews = connection, task, previews
        self.seen = NO_PREVIEW
        self.has_tasks = True

    def ask(self) -> TaskProgress:
        """The progress; `waiting` where no answer comes."""
        with suppress(WebUIError, RefusedError):
            if self.has_tasks:
                with suppress(NotAWebUIError):
                    return self.task_progress()
                self.has_tasks = False  # a WebUI without pages (--nowebui)
            return self.any_progress()
        return TaskProgress(state="waiting")

    def task_progress(self) -> TaskProgress:
        """The progress of this very generation. Raises NotAWebUIError where there is no such route."""
        asked = {"id_task": self.task, "id_live_preview": self.seen, "live_preview": self.previews}
        found = self.connection.json("POST", ROUTE, asked)
        if not isinstance(found, Mapping):
            raise NotAWebUIError(self.connection.url, "the answer is no progress of a WebUI")
        shown = found.get("live_preview")
        self.seen = int(found.get("id_live_preview") or NO_PREVIEW) if shown else self.seen
        waits: State = "ended" if found.get("completed") else "waiting"
        return TaskProgress(
            state="running" if found.get("active") else waits,
            share=float(found.get("progress") or 0),
            text=str(found.get("textinfo") or ""),
            preview=Picture.of(shown) if shown else None,
            preview_id=self.seen,
        )

    def any_progress(self) -> TaskProgress:
        """The progress of the WebUI's current generation, whichever it is."""
        skipped = "" if self.previews else "?skip_current_image=true"
        found = progress_of(self.connection.url, self.connection.json("GET", f"/sdapi/v1/progress{skipped}"))
        return TaskProgress(
            state="running" if found.busy else "waiting",
            share=found.share,
            preview=found.preview,
            preview_id=found.step,
        )
