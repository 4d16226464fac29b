"""A generation whose progress is shown, and which an interrupt ends in the WebUI."""

from typing import Any

import pytest

from lib_ctrlgen.client import RefusedError, ServerError, WebUI
from lib_ctrlgen.client.watched import TaskProgress, watched
from tests.support.busy_webui import BusyWebUI
from tests.support.scripted_server import answers, routed, scripted


def test_progress_and_previews_are_reported_until_the_pictures_are_there() -> None:
    busy, seen = BusyWebUI(questions=4), list[TaskProgress]()
    with scripted(busy.act) as (url, _):
        made = watched(WebUI(url), "txt2img", {"prompt": "a"}, seen.append, previews=True, pause=0.01)
    assert made.seeds == (0,)
    assert (seen[0].state, seen[0].text) == ("waiting", "In queue: 1/2")
    running = [each for each in seen if each.state == "running"]
    assert running[0].share == 0.5
    assert [each.preview is not None for each in running] == [True] + [False] * (len(running) - 1)
    assert busy.bodies[0]["prompt"] == "a"
    assert busy.bodies[0]["force_task_id"].startswith("task(ctrlgen-")


def test_an_interrupt_ends_the_generation_in_the_webui_once_it_runs() -> None:
    busy = BusyWebUI(never_ends=True)

    def stop(progress: TaskProgress) -> None:
        raise KeyboardInterrupt

    with scripted(busy.act) as (url, _), pytest.raises(KeyboardInterrupt):
        watched(WebUI(url), "txt2img", {}, stop, pause=0.01)
    assert busy.interrupts == 1
    assert busy.asked >= 2  # the first question found it in the queue, where another generation runs


def test_a_webui_without_pages_reports_its_current_generation() -> None:
    busy, seen = BusyWebUI(questions=2, has_tasks=False), list[TaskProgress]()
    with scripted(busy.act) as (url, _):
        watched(WebUI(url), "txt2img", {}, seen.append, pause=0.01)
    assert {each.share for each in seen} == {0.25}


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (422, {"path": "$.units[0].model", "message": "no model"}, RefusedError),
        (500, "out of memory", ServerError),
    ],
)
def test_an_error_of_the_generation_is_raised(status: int, detail: Any, kind: type[Exception]) -> None:
    act = routed(txt2img=answers({"detail": detail}, status), other=answers({}, 500))
    with scripted(act) as (url, _), pytest.raises(kind):
        watched(WebUI(url), "txt2img", {}, pause=0.01)
