"""The buttons Interrupt and Skip of the real WebUI, in several batches with units, schedules and blends."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import BLUE, DEPTH, EDGES, PICTURE, RED, Answer, WebUI

pytestmark = pytest.mark.live
UNITS = [EDGES | {"weight": "1>0.5"}, DEPTH | {"weight": 0.6}, PICTURE | {"weight": 0.5}]
LONG = {"steps": 16, "batch_size": 2, "n_iter": 3}
SCHEDULED = {"prompt": "a (red:2@0 hold, 0.5@0.5) circle"}
BLEND = {"args": [{"units": UNITS, "blend": {"concepts": [RED, BLUE], "mode": "prediction"}}], "prompt": ""}


def state(webui: WebUI) -> dict[str, Any]:
    return dict(webui.get("/sdapi/v1/progress?skip_current_image=true").json()["state"])


def wait(webui: WebUI, batch: int, step: int, until: Future[Answer]) -> None:
    """Until the generation is at a step of a batch."""
    while not until.done():
        now = state(webui)
        if now["job_no"] >= batch and now["sampling_step"] >= step:
            return
        time.sleep(0.02)
    raise AssertionError("the generation ended before the button was pressed")


def pressed(webui: WebUI, made: Callable[[], Answer], *presses: tuple[str, int]) -> Answer:
    """A generation during which buttons are pressed, each in a batch of its own."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(made)
        for button, batch in presses:
            wait(webui, batch, 4, running)
            webui.post(f"/sdapi/v1/{button}", {})
        return running.result()


def equal(one: Answer, other: Answer) -> list[bool]:
    """Which of the first six pictures are the same."""
    pairs = zip(one.images[:6], other.images[:6], strict=False)
    return [bool(np.array_equal(a, b)) for a, b in pairs]


@pytest.mark.parametrize("fields", [{}, SCHEDULED, BLEND], ids=["units", "schedule", "blend"])
def test_both_buttons_in_batches(webui: WebUI, plain: Answer, fields: dict[str, Any]) -> None:
    """A skipped batch is cut short and those after it are whole; after an interrupt there are no more."""
    units = [] if "args" in fields else UNITS
    made = partial(webui.generate, *units, **LONG, **fields)
    whole = made()
    skipped = pressed(webui, made, ("skip", 1))
    assert equal(skipped, whole) == [True, True, False, False, True, True]
    both = pressed(webui, made, ("skip", 0), ("interrupt", 1))
    assert both.status == 200
    assert equal(both, whole)[:4] == [False] * 4
    assert len(both.images) == len(whole.images) - 2  # control maps come behind the pictures
    assert webui.generate().same(plain)


def test_both_buttons_at_once(webui: WebUI, plain: Answer) -> None:
    made = partial(webui.generate, *UNITS, **LONG)

    def twice() -> Answer:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(made)
            wait(webui, 0, 4, running)
            for button in ("skip", "interrupt", "interrupt", "skip"):
                webui.post(f"/sdapi/v1/{button}", {})
            return running.result()

    stopped = twice()
    assert stopped.status == 200
    assert not stopped.same(made(), 2)
    assert webui.generate().same(plain)


def test_a_skipped_cell_of_a_grid_is_not_a_finished_one(webui: WebUI) -> None:
    """It is shown as failed, and made by the next run with the same name."""
    tune = {"x": {"path": "Unit 0 weight", "values": "0.2, 0.9"}, "name": f"live skipped {time.time()}"}
    fields = {"script_name": "CtrlGen X/Y tuner", "script_args": [tune], "steps": 60}
    made = partial(webui.generate, UNITS[0] | {"weight": 1}, **fields)
    skips: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(made)
        while not running.done():
            if state(webui)["sampling_step"] >= 2:
                webui.post("/sdapi/v1/skip", {})
                skips.append(1)
            time.sleep(0.05)
        refused = running.result()
    assert skips
    assert "skipped before it was finished" in str(refused.json)
    again = made()
    assert again.status == 200, again.json
    assert len(again.images) >= 2
