"""Prompts' schedules and blends on SDXL's conditioning (two encoders, a dict) in the real WebUI.

CTRLGEN_WEBUI_SDXL names an SDXL checkpoint of the WebUI; a small random one will do.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import BLUE, RED, Answer, WebUI, close

pytestmark = pytest.mark.live
OURS, THEIRS = "a (red:2@0 hold, 0.5@0.5) circle", "[a (red:2) circle:a (red:0.5) circle:1]"


class SDXL:
    """Generations with an SDXL checkpoint."""

    def __init__(self, webui: WebUI, name: str) -> None:
        self.webui, self.name = webui, name

    def made(self, emphasis: str = "No norm", **fields: Any) -> Answer:
        settings = {"sd_model_checkpoint": self.name, "emphasis": emphasis}
        answer = self.webui.generate(**{"override_settings": settings, **fields})
        assert answer.status == 200, answer.json
        return answer

    def blended(self, *concepts: dict[str, Any], fields: Any = None, **blend: Any) -> Answer:
        request = {"blend": {"concepts": list(concepts), **blend}}
        return self.made(args=[request], **({"prompt": ""} | (fields or {})))


@pytest.fixture(scope="module")
def sdxl(webui: WebUI) -> Iterator[SDXL]:
    name = os.environ.get("CTRLGEN_WEBUI_SDXL")
    if not name:
        pytest.skip("live test: set CTRLGEN_WEBUI_SDXL")
    before = webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
    yield SDXL(webui, name)
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


@pytest.mark.parametrize("emphasis", ["No norm", "Ignore", "None"])
def test_a_held_weight_is_prompt_editing(sdxl: SDXL, emphasis: str) -> None:
    mine = sdxl.made(emphasis, prompt=OURS)
    theirs = sdxl.made(emphasis, prompt=THEIRS)
    assert close(mine.images[0], theirs.images[0])  # some processors round otherwise
    if emphasis == "No norm":
        assert not mine.same(sdxl.made(emphasis, prompt="a red circle"))


def test_a_schedule_that_stays_is_the_ordinary_prompt(sdxl: SDXL) -> None:
    ours = sdxl.made("Original", prompt="a (red:2@0, 2@1) circle", negative_prompt="(blue:1.5>1.5)")
    assert ours.same(sdxl.made("Original", prompt="a (red:2) circle", negative_prompt="(blue:1.5)"))


def test_prediction_is_the_webuis_and(sdxl: SDXL) -> None:
    ours = sdxl.blended(RED | {"weight": 0.7}, BLUE | {"weight": -0.3}, fields={"batch_size": 2})
    assert ours.same(sdxl.made(prompt="a red circle :0.7 AND a blue square :-0.3", batch_size=2), 2)


@pytest.mark.parametrize("turn", ["lerp", "slerp"])
def test_mixed_conditionings_end_in_the_prompts(sdxl: SDXL, turn: str) -> None:
    ends = (RED | {"weight": 1}, BLUE | {"weight": 0})
    for words, prompt in ((ends, "a red circle"), (ends[::-1], "a red circle")):
        mixed = sdxl.blended(*words, mode="embedding", interpolation=turn)
        assert np.abs(mixed.images[0].astype(int) - sdxl.made(prompt=prompt).images[0]).max() <= 1
    half = [RED | {"weight": 0.5}, BLUE | {"weight": 0.5}]
    assert not sdxl.blended(*half, mode="embedding", interpolation=turn).same(
        sdxl.made(prompt="a red circle")
    )


def test_the_ends_of_a_trajectory_are_plain_runs(sdxl: SDXL) -> None:
    strip = sdxl.blended(RED, BLUE, mode="trajectory", fields={"batch_size": 3})
    for index, prompt in ((0, "a red circle"), (2, "a blue square")):
        end = sdxl.made(prompt=prompt)
        assert np.abs(strip.images[index].astype(int) - end.images[0]).max() <= 1
