"""Scheduled prompts and guidance in the real WebUI, against its own prompt editing: bit-equal pictures.

Not in the emphasis mode "Original": editing encodes its texts in one batch there, and restores the
mean of both together, so it differs from the ordinary prompts too.
"""

from typing import Any

import numpy as np
import pytest

from tests.live.conftest import EDGES, Answer, WebUI

pytestmark = pytest.mark.live

# In 4 steps, `[a:b:1]` is `a` at the steps 0 and 1, then `b`.
PAIRS = [
    ("a (red:2@0 hold, 0.5@0.5) circle", "[a (red:2) circle:a (red:0.5) circle:1]"),
    ("(red:1.5@0 hold, 1@0.5) BREAK circle", "[(red:1.5) BREAK circle:(red:1) BREAK circle:1]"),
    ("((red:2@0 hold, 0.5@0.5):1.2) [x] circle", "[((red:2):1.2) [x] circle:((red:0.5):1.2) [x] circle:1]"),
]
NO_NORM = {"override_settings": {"emphasis": "No norm"}}
HIRES = NO_NORM | {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 1.0}


def made(webui: WebUI, **fields: Any) -> Answer:
    """A generation by the script alone, with nothing but what the prompts say."""
    answer = webui.generate(**fields)
    assert answer.status == 200, answer.json
    return answer


@pytest.mark.parametrize("emphasis", ["No norm", "Ignore", "None"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_held_weight_is_prompt_editing(webui: WebUI, ours: str, theirs: str, emphasis: str) -> None:
    setting = {"override_settings": {"emphasis": emphasis}}
    mine, wanted = made(webui, prompt=ours, **setting), made(webui, prompt=theirs, **setting)
    assert mine.same(wanted)
    assert ours in webui.infotext(mine)


def test_a_negative_prompt_is_scheduled_too(webui: WebUI) -> None:
    mine = made(webui, negative_prompt="(blue:2@0 hold, 0.5@0.5)", **NO_NORM)
    assert mine.same(made(webui, negative_prompt="[(blue:2):(blue:0.5):1]", **NO_NORM))


def test_a_schedule_that_stays_is_the_ordinary_prompt(webui: WebUI, plain: Answer) -> None:
    ordinary = made(webui, prompt="a (red:2) circle", negative_prompt="(blue:1.5)")
    scheduled = made(webui, prompt="a (red:2@0, 2@1) circle", negative_prompt="(blue:1.5>1.5)")
    assert scheduled.same(ordinary)
    assert not scheduled.same(plain)
    late = made(webui, prompt="a (red:1@0 hold, 2@0.25) circle", negative_prompt="(blue:1.5>1.5)")
    assert not late.same(ordinary)


@pytest.mark.parametrize("sampler", ["Heun", "DPM++ 2M", "Euler a", "DDIM", "UniPC"])
def test_every_sampler_follows_the_schedule(webui: WebUI, plain: Answer, sampler: str) -> None:
    fields = {"sampler_name": sampler}
    scheduled = made(webui, prompt="a (red:2>0) circle", **fields)
    assert not scheduled.same(made(webui, prompt="a (red:2) circle", **fields))
    assert scheduled.same(made(webui, prompt="a (red:2>0) circle", **fields))
    assert made(webui).same(plain)


def test_another_schedule_gives_another_picture_and_back_again_the_first(webui: WebUI, plain: Answer) -> None:
    first, other = (made(webui, prompt=f"a (red:2>{end}) circle") for end in (0, 1))
    assert not first.same(other)
    assert first.same(made(webui, prompt="a (red:2>0) circle"))
    assert made(webui).same(plain)


def test_and_weights_over_the_steps(webui: WebUI) -> None:
    scheduled = made(webui, prompt="a red circle AND a blue square :0.2@0, 1@0.5", batch_size=2)
    for weight in (0.2, 1):
        still = made(webui, prompt=f"a red circle AND a blue square :{weight}", batch_size=2)
        assert not scheduled.same(still, 2)
    never = made(webui, prompt="a red circle AND a blue square :1e-9>0", batch_size=2)
    assert never.same(made(webui, prompt="a red circle AND a blue square :0", batch_size=2), 2)


def test_hires_fix_runs_the_schedule_once_per_pass(webui: WebUI) -> None:
    ours, theirs = PAIRS[0]
    mine = made(webui, prompt="a red circle", hr_prompt=ours, **HIRES)
    plain = made(webui, prompt="a red circle", hr_prompt="a (red:2) circle", **HIRES)
    assert not mine.same(plain)
    assert made(webui, prompt=ours, hr_prompt="a blue square", **HIRES).same(
        made(webui, prompt=theirs, hr_prompt="a blue square", **HIRES)
    )
    assert not made(webui, prompt=ours, **HIRES).same(mine)


def test_guidance_over_the_steps(webui: WebUI, plain: Answer) -> None:
    args = [{"cfg_scale": "5@0, 5@1"}]
    assert made(webui, args=args, cfg_scale=9).same(plain)
    falling = made(webui, args=[{"cfg_scale": "9>1"}])
    assert not falling.same(plain)
    assert falling.same(made(webui, args=[{"cfg_scale": "9>1"}]))
    assert '""cfg_scale"":""9@0, 1@1""' in webui.infotext(falling).replace('\\"', '""')
    assert made(webui).same(plain)


def test_the_hires_pass_may_have_its_own_weight_and_guidance(webui: WebUI) -> None:
    both, first = webui.generate(EDGES, **HIRES), webui.generate(EDGES | {"hires": 0}, **HIRES)
    assert not both.same(first)
    assert not first.same(webui.generate(**HIRES))
    assert both.same(webui.generate(EDGES | {"hires": 1}, **HIRES))
    plain = made(webui, **HIRES)
    assert made(webui, args=[{"hires_cfg_scale": 5}], **HIRES).same(plain)
    assert not made(webui, args=[{"hires_cfg_scale": "9>1"}], **HIRES).same(plain)
    assert made(webui, args=[{"hires_cfg_scale": "9>1"}]).same(made(webui))


def test_schedules_and_units_together(webui: WebUI) -> None:
    prompt = "a (red:glow=2) circle"
    request = {"units": [EDGES], "cfg_scale": "9>1", "prompt_weights": {"glow": "2>0"}}
    together = made(webui, prompt=prompt, args=[request], batch_size=2)
    for name in ("units", "cfg_scale", "prompt_weights"):
        part = {key: value for key, value in request.items() if key != name}
        other = made(webui, prompt=prompt, args=[part], batch_size=2)
        assert not np.array_equal(together.images[0], other.images[0]), name


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"prompt": "a (red:1@0,) circle"}, "$.prompt"),
        ({"negative_prompt": "a (red:1>2"}, "$.negative_prompt"),
        ({"args": [{"cfg_scale": "9>0"}]}, "$.cfg_scale"),
        ({"args": [{"prompt_weights": {"glow": 1}}]}, "$.prompt_weights.glow"),
    ],
)
def test_what_cannot_be_read_makes_no_picture(webui: WebUI, fields: dict[str, Any], path: str) -> None:
    answer = webui.generate(**fields)
    assert answer.status == 422
    assert answer.detail["path"] == path
