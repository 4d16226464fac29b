"""The window of sd-webui-controlnet: which steps it has, by a simulation of the WebUI that reports them."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lib_ctrlgen.request.semantics import ControlNetSemantics, acts_at
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit, parse_request, to_payload

UNITS = st.floats(0, 1, allow_subnormal=False)
OLD = ControlNetSemantics()


def reported_steps(steps: int, calls_per_step: int) -> list[float]:
    """The share of finished steps that the WebUI reports at each U-Net call.

    Its samplers report a step after the step's first call, by the step's number counted from 0.
    """
    found, shown = [], 0
    for step in range(steps):
        for call in range(calls_per_step):
            found.append(shown / steps)
            if call == 0:
                shown = step
    return found


@given(st.integers(1, 60), UNITS, UNITS)
def test_the_steps_of_a_window_are_those_of_the_old_rule(steps: int, one: float, other: float) -> None:
    start, end = sorted((one, other))
    unit = ControlUnit(model="edges", guidance_start=start, guidance_end=end, semantics=OLD)
    weights = unit.sample(steps, hires=False)
    assert weights == tuple(float(start <= seen <= end) for seen in reported_steps(steps, 1))
    assert weights == unit.sample(steps, hires=True)


def test_a_window_of_half_the_steps_has_two_more_steps() -> None:
    own = ControlUnit(model="edges", guidance_end=0.5)
    assert sum(replace(own, semantics=OLD).sample(20, hires=False)) == 12
    assert sum(own.sample(20, hires=False)) == 10
    both = [acts_at(seen, 0, 0.5) for seen in reported_steps(20, 2)]
    assert sum(both) == 23, "the second call of a step sees the step as finished"


def test_weights_of_passes_have_the_window_of_each() -> None:
    payload = {"model": "edges", "weight": 0.5, "hires": 2, "guidance_start": 0.5, "semantics": {}}
    request: ControlRequest = parse_request({"units": [payload]})
    unit = request.units[0]
    assert list(unit.sample(4, hires=False)) == [0, 0, 0, 0.5]
    assert list(unit.sample(6, hires=True)) == [0, 0, 0, 0, 2, 2]


def test_semantics_are_written_and_read() -> None:
    given_ = ControlNetSemantics(resolution=512, weight=0.7, all_cond=True, union_type="depth")
    request = ControlRequest(units=(ControlUnit(model="edges", semantics=given_),))
    assert parse_request(to_payload(request)) == request
    assert "semantics" not in to_payload(ControlRequest(units=(ControlUnit(model="edges"),)))["units"][0]
