"""Forty requests with random stacks in the real WebUI, half of them failing or interrupted."""

import os
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from tests.live.conftest import Answer, WebUI

pytest.importorskip("diffusers")

from tests.support.soaking import Stacks

pytestmark = pytest.mark.live
COUNT = int(os.environ.get("CTRLGEN_SOAK", "40"))
WAYS = ("finished", "finished", "interrupted", "picture", "model", "weight")
MISTAKES = {"picture": {"image": "aGVsbG8="}, "model": {"model": "no-such-file"}, "weight": {"weight": "1@"}}
LONG = {"steps": 60, "width": 128, "height": 128}
FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_size": 2},
    {"sampler_name": "DPM++ 2M"},
    {"prompt": "a (red:1.3>0.5) circle"},
    {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7},
)


def test_nothing_is_left_of_forty_requests(webui: WebUI, plain: Answer, kinds: tuple[str, ...]) -> None:
    stacks, done = Stacks(kinds=kinds), Counter[str]()
    for number in range(COUNT):
        draw = random.Random(number)
        units, way = stacks.units(draw), draw.choice(WAYS)
        if way in MISTAKES:
            units[-1] |= MISTAKES[way]
        answer = interrupted(webui, units) if way == "interrupted" else made(webui, units, draw)
        assert answer.status == (422 if way in MISTAKES else 200), (number, way, answer.json)
        assert webui.generate().same(plain), f"request {number} ({way}) left something"
        done[way] += 1
    print(dict(done))  # noqa: T201 - shown with -s
    assert len(done) == len(set(WAYS)) or COUNT < 40


def made(webui: WebUI, units: list[Any], draw: random.Random) -> Answer:
    """A picture, which is the same when the request is sent again."""
    fields = draw.choice(FIELDS)
    answer = webui.generate(*units, **fields)
    if answer.status == 200 and draw.random() < 0.3:
        assert webui.generate(*units, **fields).same(answer)
    return answer


def interrupted(webui: WebUI, units: list[Any]) -> Answer:
    """The answer to a request that is interrupted after some steps."""
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(webui.generate(*units, **LONG)))
    thread.start()
    while thread.is_alive():
        state = webui.get("/sdapi/v1/progress?skip_current_image=true").json()["state"]
        if state["sampling_step"] >= 2:
            webui.post("/sdapi/v1/interrupt", {})
            break
        time.sleep(0.05)
    thread.join(600)
    return found[0]
