"""Units that would do nothing: which are an error, and which only a warning."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.inactive import idle_note, planned, require_acting
from lib_ctrlgen.request.notices import Notice, Notices
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support.networks import NoiseControl, Script, active, random_call
from tests.support.unet_calls import RESIDUAL_CHANNELS, RESIDUAL_SIZES, port_of, run, sd_ldm

WEIGHTS = ["1", "0", "1>0", "0>1", "1 in 0..0.3", "0 in 0.2..0.7", "1@0, 0@0.1", "0@0.9, 1@1", "-0.5"]
shares = st.integers(0, 40).map(lambda k: k / 40)


def unit(**fields: Any) -> ControlUnit:
    return parse_request({"units": [{"model": "m", **fields}]}).units[0]


@given(st.sampled_from(WEIGHTS), shares, shares, st.integers(1, 60))
def test_a_unit_without_a_step_is_an_error_unless_it_says_so(
    weight: str, one: float, other: float, steps: int
) -> None:
    start, end = sorted((one, other))
    found = unit(weight=weight, guidance_start=start, guidance_end=end)
    units, passes = [(2, found)], {False: steps}
    acts = any(found.schedule.sample(steps))
    says_so = start == end or weight in {"0", "0 in 0.2..0.7"}
    if acts or says_so:
        notices = require_acting(units, passes, planned(units, passes))
        assert len(notices) == says_so
        assert all(notice.path.startswith("$.units[2].") for notice in notices)
        assert all("does nothing" in notice.message for notice in notices)
        assert idle_note(units, steps) == "\n".join(map(str, notices))
        return
    with pytest.raises(RequestError, match=f"acts in none of the {steps} steps") as caught:
        require_acting(units, passes, planned(units, passes))
    assert caught.value.path.startswith("$.units[2].")
    assert idle_note(units, steps) == str(caught.value)


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"guidance_start": 0.96}, "guidance_start", "none of the 20 steps"),
        ({"weight": 0}, "weight", "the weight is 0"),
        ({"guidance_start": 0.5, "guidance_end": 0.5}, "guidance_end", "0.5..0.5 is empty"),
        ({"layer_weights": [0] * 13}, "layer_weights", "all layer weights are 0"),
    ],
)
def test_the_field_and_the_reason(fields: dict[str, Any], place: str, words: str) -> None:
    note = idle_note([(0, unit(**fields))], 20)
    assert note.startswith(f"$.units[0].{place}: ")
    assert words in note


def test_passes_are_judged_together() -> None:
    late = unit(guidance_start=0.5, guidance_end=0.6)
    units, passes = [(0, late)], {False: 20, True: 3}
    assert require_acting(units, passes, planned(units, passes)) == [
        Notice("$.units[0].guidance_start", "the unit acts in none of the 3 steps of the hires pass")
    ]
    for on_purpose in ({"weight": 0, "hires": 1}, {"weight": 1, "hires": 0}):
        units = [(0, unit(**on_purpose))]
        assert require_acting(units, passes, planned(units, passes)) == []
    units = [(0, unit(guidance_start=0.98))]
    with pytest.raises(RequestError, match="20 steps nor the 3 steps of the hires pass"):
        require_acting(units, passes, planned(units, passes))


@pytest.mark.parametrize(
    ("steps", "calls", "fault"),
    [
        (4, range(4), None),
        (40, range(39), "none of the 40 steps"),  # second order: the last step has one call
        (4, range(2), None),  # interrupted: nothing is said
    ],
)
def test_a_session_says_what_did_not_act_in_the_calls_that_were_made(
    steps: int, calls: range, fault: str | None
) -> None:
    unet, call = sd_ldm(), random_call("c0 u0", 3)
    control = NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, 1)
    one = active(control, 0, guidance_start=(steps - 1) / steps)
    session = ControlSession(port_of(unet), [one], Script(steps, [(step, call.rows) for step in calls]))
    with torch.no_grad(), session:
        for _ in calls:
            run(unet, call)
    if fault is None:
        assert session.observed() == []
        return
    assert session.expected({False: steps}) == []
    with pytest.raises(RequestError, match=fault):
        session.observed()


def test_notices_of_one_picture_and_of_all() -> None:
    notices = Notices()
    notices.add("$.a", "x")
    notices.extend([Notice("$.b", "y", 1), Notice("$.a", "x")])
    assert [notices.of(0), notices.of(1), notices.of()] == [
        ("$.a: x",),
        ("$.a: x", "$.b: y"),
        ("$.a: x", "$.b: y"),
    ]
