"""Scheduled prompts and guidance in a fake host that encodes prompts as the WebUI does."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.errors import HostError, RequestError
from tests.support.fake_conditioning import Model, Processing
from tests.support.fake_webui import FakeWebUI, fresh, served

SCHEDULED = "a (red:2@0 hold, 0.5@0.5) star"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeWebUI]:
    webui = FakeWebUI()
    webui.model = Model()  # type: ignore[assignment]
    webui.opts.use_old_scheduling = False  # type: ignore[attr-defined]
    Processing.cached_c[:] = Processing.cached_uc[:] = [None, None]
    with served(webui, tmp_path):
        yield webui


def run(host: FakeWebUI, script: Any, p: Processing, request: Any = "") -> Processing:
    host.swallowing(script.process, p, request)
    p.prompts, p.negative_prompts = list(p.all_prompts), list(p.all_negative_prompts)
    p.setup_conds()
    assert p.prompts == p.all_prompts  # the infotext is made from them
    p.sample()
    assert "combine_denoised" not in vars(p.denoiser)
    assert "encode_with_transformers" not in vars(host.model.cond_stage_model)
    assert host.callbacks.count == 0
    return p


def plain(host: FakeWebUI, text: str) -> Tensor:
    return host.model.cond_stage_model.encode(text)


def test_every_step_is_the_ordinary_prompt_of_its_progress(host: FakeWebUI, script: Any) -> None:
    p = run(host, script, Processing(host, SCHEDULED, "(blue:1>3)"))
    for step, weight in enumerate((2, 2, 0.5, 0.5)):
        assert torch.equal(p.seen[step][0], plain(host, f"a (red:{weight}) star"))
        assert torch.equal(p.seen[step][1], plain(host, f"(blue:{1 + step / 2})"))


def test_text_is_encoded_once_per_token_sequence(host: FakeWebUI, script: Any) -> None:
    run(host, script, Processing(host, "a (red:2>0) star", "(blue:1>3)", steps=40))
    assert len(host.model.cond_stage_model.runs) == 2


def test_the_hosts_cache_stays_right(host: FakeWebUI, script: Any) -> None:
    first = run(host, script, Processing(host, SCHEDULED)).seen
    other = run(host, script, Processing(host, "a (red:2>0) star")).seen
    again = run(host, script, Processing(host, SCHEDULED)).seen
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[2][0], other[2][0])
    assert torch.equal(run(host, script, Processing(host, "a (red:2) star")).seen[3][0], first[0][0])


def test_and_weights_over_the_steps(host: FakeWebUI, script: Any) -> None:
    p = run(host, script, Processing(host, "a cat AND oil :0.2@0, 1@0.5"))
    found = [dict(weights[0]) for _, _, weights, _ in p.seen]
    assert found == [{0: 1.0, 1: pytest.approx(weight)} for weight in (0.2, 0.6, 1, 1)]


def test_a_guidance_schedule_and_steps_that_skip_the_unconditional_rows(host: FakeWebUI, script: Any) -> None:
    p = run(host, script, Processing(host, "a", skip=(2,)), {"cfg_scale": "8>4"})
    assert [scale for *_, scale in p.seen] == [8, 7, 1, 5]
    assert p.extra_generation_params["CtrlGen"] == '{"cfg_scale":"8@0, 4@1"}'


def test_the_hires_pass_may_have_its_own_guidance(host: FakeWebUI, script: Any) -> None:
    request = {"cfg_scale": 5, "hires_cfg_scale": "8>4"}
    assert [scale for *_, scale in run(host, script, Processing(host, "a"), request).seen] == [5] * 4
    hires = Processing(host, "a", is_hr_pass=True)
    assert [scale for *_, scale in run(host, script, hires, request).seen] == [8, 7, 6, 5]
    same = Processing(host, "a", is_hr_pass=True)
    assert [scale for *_, scale in run(host, script, same, {"cfg_scale": 5}).seen] == [5] * 4
    first = run(host, script, Processing(host, "a"), {"hires_cfg_scale": 5})
    assert [scale for *_, scale in first.seen] == [7] * 4


def test_named_weights_take_the_requests_values(host: FakeWebUI, script: Any) -> None:
    p = run(host, script, Processing(host, "a (red:glow=2) star"), {"prompt_weights": {"glow": "1>0"}})
    assert torch.equal(p.seen[2][0], plain(host, "a (red:0.5) star"))
    q = run(host, script, Processing(host, "a (red:glow=2) star"))
    assert torch.equal(q.seen[2][0], plain(host, "a (red:2) star"))


@pytest.mark.parametrize(
    ("prompt", "negative", "request_", "path"),
    [
        ("a (red:1@0,) star", "", "", "$.prompt"),
        ("a", "(b:1>2", "", "$.negative_prompt"),
        ("a (red:glow=1)", "", {"prompt_weights": {"glwo": 1}}, "$.prompt_weights.glwo"),
        ("a", "", {"cfg_scale": "8>0"}, "$.cfg_scale"),
    ],
)
def test_what_cannot_be_read_makes_no_picture(
    host: FakeWebUI, script: Any, prompt: str, negative: str, request_: Any, path: str
) -> None:
    with pytest.raises(RequestError) as caught:
        run(host, script, Processing(host, prompt, negative), request_)
    assert caught.value.path == path


def test_a_conditioning_that_is_not_the_hosts_is_refused(host: FakeWebUI, script: Any) -> None:
    p = Processing(host, SCHEDULED)
    script.process(p, "")
    p.prompts, p.negative_prompts = list(p.all_prompts), [""]
    p.setup_conds()
    p.c = SimpleNamespace(batch=p.c.batch)
    with pytest.raises(HostError, match="another extension"):
        p.sample()
    assert host.callbacks.count == 0


def test_an_edit_model_takes_no_guidance_schedule(host: FakeWebUI, script: Any) -> None:
    host.model.cond_stage_key = "edit"  # type: ignore[attr-defined]
    with pytest.raises(HostError, match="InstructPix2Pix"):
        run(host, script, Processing(host, "a"), {"cfg_scale": "8>4"})


def test_an_ordinary_prompt_leaves_everything_alone(host: FakeWebUI, script: Any) -> None:
    p = run_plain(host, script, Processing(host, "a (red:1.2) [x:y:0.5] <lora:a:1>"))
    assert not {"sample", "setup_conds", "get_conds_with_caching"} & set(vars(p))
    assert "lib_ctrlgen.webui.sampling.conditioning" not in sys.modules


def run_plain(host: FakeWebUI, script: Any, p: Processing) -> Processing:
    host.swallowing(script.process, p, "")
    p.prompts, p.negative_prompts = list(p.all_prompts), list(p.all_negative_prompts)
    p.setup_conds()
    p.sample()
    return p


def test_one_p_may_be_processed_again_without_schedules(host: FakeWebUI, script: Any) -> None:
    p = run(host, script, Processing(host, SCHEDULED))
    p.all_prompts = ["a cat"]
    script.process(p, "")
    assert not {"sample", "setup_conds", "get_conds_with_caching"} & set(vars(p))


NEAR_MISS = "a red circle # (bad:1@0,,x@1)"


@pytest.mark.parametrize("read", [True, False])
def test_a_comment_is_read_by_nobody(host: FakeWebUI, script: Any, read: bool) -> None:
    """As the WebUI's script "Comments", which runs after ours, leaves the prompts; its setting decides."""
    host.opts.data["enable_prompt_comments"] = read
    comments = sys.modules["modules.scripts"].scripts_txt2img  # type: ignore[attr-defined]
    hires = {"all_hr_prompts": [NEAR_MISS], "all_hr_negative_prompts": ["# (b:1>>2)"], "enable_hr": True}
    p = Processing(host, NEAR_MISS, "blue # (b:1>>2)", scripts=comments, **hires)
    script.process(p, "")
    if read:
        assert "sample" not in vars(p)
    else:
        with pytest.raises(RequestError, match="bad"):
            p.sample()
    assert p.all_prompts == p.all_hr_prompts == [NEAR_MISS]  # other scripts see what was typed


def test_schedules_outside_of_a_comment_act(host: FakeWebUI, script: Any) -> None:
    comments = sys.modules["modules.scripts"].scripts_txt2img  # type: ignore[attr-defined]
    p = Processing(host, f"{SCHEDULED} # was (b:1>2)", scripts=comments)
    script.process(p, "")
    assert "sample" in vars(p)
    p = Processing(host, f"a star # {SCHEDULED}", scripts=comments)
    script.process(p, "")
    assert "sample" not in vars(p)


def test_the_plan_reads_no_comments(host: FakeWebUI) -> None:
    plan = fresh("api").plan
    assert plan({"prompt": NEAR_MISS, "steps": 4})["weights"] == ()
    host.opts.data["enable_prompt_comments"] = False
    with pytest.raises(RequestError, match="bad"):
        plan({"prompt": NEAR_MISS, "steps": 4})
