"""A batch with weights per picture: each picture is as it is alone, and equal rows are computed once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch import Tensor

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Rows
from lib_ctrlgen.unet.shared_rows import SharedRows, row_classes
from tests.support import networks
from tests.support.networks import (
    Call,
    ContextNoise,
    FeatureNoise,
    NetworkControl,
    Script,
    TokenControl,
    active,
)
from tests.support.pictures import mask_image
from tests.support.properties import examples
from tests.support.unet_calls import batch_of, port_of, run

STEPS = 4
LAYERS = [k / 10 for k in range(13)]


def numbers() -> st.SearchStrategy[dict[str, Any]]:
    """What a unit of a cell may say for itself."""
    return st.fixed_dictionaries(
        {
            "weight": st.sampled_from([0, 1, 0.7, "1>0", "1 in 0..0.5", -0.4]),
            "guidance_start": st.sampled_from([0, 0.5]),
            "guidance_end": st.sampled_from([0.5, 1]),
            "mask_strength": st.sampled_from([1, 0.3, "0>1"]),
        },
        optional={
            "control_mode": st.sampled_from(["balanced", "prompt", "control"]),
            "layer_weights": st.just(LAYERS),
        },
    )


def specs(units: Sequence[Any], cell: Sequence[dict[str, Any]]) -> tuple[ControlUnit, ...]:
    """The specs of a cell; those of pictures have no modes and other layers, a T2I-Adapter has four."""
    made = []
    for unit, own in zip(units, cell, strict=True):
        fields = dict(own)
        if isinstance(unit.control, (TokenControl, ContextNoise)):
            fields.pop("control_mode", None)
            fields.pop("layer_weights", None)
        if isinstance(unit.control, FeatureNoise) and "layer_weights" in fields:
            fields["layer_weights"] = LAYERS[:4]
        made.append(parse_request({"units": [{"model": unit.spec.model, **fields}]}).units[0])
    return tuple(made)


@pytest.fixture(scope="module")
def units() -> list[Any]:
    hint = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(11))
    first = NetworkControl(networks.controlnet(1), hint)
    features = FeatureNoise(networks.SD_PLACES, 3)
    return [
        active(first, 0, mask_image(1)),
        active(TokenControl(1), 1, mask_image(2)),
        active(first, 2),
        active(features, 3, mask_image(3)),
        active(ContextNoise(4), 4, mask_image(4)),
    ]


@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@given(data=st.data())
def test_every_image_is_what_it_is_alone(unet: Any, units: list[Any], data: st.DataObject) -> None:
    images = data.draw(st.integers(2, 4))
    cells = [specs(units, [data.draw(numbers()) for _ in units]) for _ in range(images)]
    distinct = data.draw(st.lists(st.integers(0, 1), min_size=images, max_size=images))
    call, step = batch_of(images, distinct), data.draw(st.integers(0, STEPS - 1))
    script = Script(STEPS, [(step, call.rows)])
    with torch.no_grad(), ControlSession(port_of(unet), units, script, cells) as session:
        together = run(unet, call)
    assert session.rows_asked == 2 * images
    seen: set[object] = set()
    for image, cell in enumerate(cells):
        own = [replace(unit, spec=spec) for unit, spec in zip(units, cell, strict=True)]
        alone = call.take([image, images + image])
        with torch.no_grad(), ControlSession(port_of(unet), own, Script(STEPS, [(step, alone.rows)])):
            wanted = run(unet, alone)
        off = (together[[image, images + image]] - wanted).abs().max() / wanted.abs().max().clamp(min=1)
        assert float(off) < 1e-3  # random networks make rounding errors larger; wrong weights are 1e-2
        seen.add((distinct[image], cell_at(cell, step)))
    assert len(set(distinct)) * 2 <= session.rows_computed <= 2 * len(seen)


def cell_at(cell: Sequence[ControlUnit], step: int) -> tuple[object, ...]:
    """Everything of a cell that can matter at a step."""
    place = step / STEPS
    return tuple(
        (u.schedule(place), u.mask_strength(place), u.control_mode, u.layer_weights is None) for u in cell
    )


def test_windows_that_have_not_parted_yet_are_one_row(unet: Any, units: list[Any]) -> None:
    cells = [specs(units[:1], [{"guidance_end": end}]) for end in (0.25, 0.5, 0.75, 1)]
    control = units[0].control
    call = batch_of(4, [0, 0, 0, 0])
    steps = [(step, call.rows) for step in range(STEPS)]
    with torch.no_grad(), ControlSession(port_of(unet), units[:1], Script(STEPS, steps), cells) as session:
        computed, asked = [], []
        for _ in steps:
            control.rows.clear()
            before = session.rows_computed
            output = run(unet, call)
            computed.append(session.rows_computed - before)
            asked.append(sum(map(len, control.rows)))
            assert torch.equal(output[0], output[0])
    # with the latents still equal, those that act differ from those that do not
    assert computed == [2, 4, 4, 4]
    assert asked == [2, 2, 2, 2]  # the network does not see the weights


def test_the_network_is_left_as_it_was_also_after_a_failure(unet: Any, units: list[Any]) -> None:
    call = batch_of(2, [0, 0])
    plain = run_plain(unet, call)
    cells = [specs(units, [{"weight": weight}] * 5) for weight in (1, 1)]
    too_few = cells[:1]
    session = ControlSession(port_of(unet), units, Script(STEPS, [(0, call.rows)]), too_few)
    with pytest.raises(HostError, match="picture 1"), torch.no_grad(), session:
        run(unet, call)
    assert torch.equal(run_plain(unet, call), plain)
    with ControlSession(port_of(unet), units, Script(STEPS, [(0, call.rows)]), cells), torch.no_grad():
        assert not torch.equal(run(unet, call), plain)
    assert torch.equal(run_plain(unet, call), plain)


def run_plain(unet: Any, call: Call) -> Tensor:
    with torch.no_grad():
        return run(unet, call)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=9))
def test_rows_are_the_same_where_all_their_inputs_are(keys: list[tuple[int, int, int]]) -> None:
    x, context, added = zip(*keys, strict=True)
    inputs = CallInputs(
        x=torch.tensor(x).float().reshape(-1, 1, 1, 1),
        timestep=torch.zeros(len(keys)),
        context=torch.tensor(context).float().reshape(-1, 1, 1),
        added={"y": torch.tensor(added).float().reshape(-1, 1), "scale": torch.ones(())},
    )
    assert row_classes(inputs) == [keys.index(key) for key in keys]
    repeats = SharedRows.of(row_classes(inputs))
    narrow = repeats.narrowed({"x": inputs.x, "others": (inputs.added["scale"], [inputs.context])})
    assert len(narrow["x"]) == len(set(keys))
    assert torch.equal(repeats.spread(narrow["x"]), inputs.x)
    assert torch.equal(repeats.spread(narrow["others"][1][0]), inputs.context)
    assert narrow["others"][0].shape == ()


def test_rows_that_are_not_numbers_are_never_the_same() -> None:
    x = torch.full((2, 1, 1, 1), torch.nan)
    inputs = CallInputs(x=x, timestep=torch.zeros(2), context=torch.zeros(2, 1, 1))
    assert row_classes(inputs) == [0, 1]
    assert Rows((True, True), (0, 1)).concept == (0, 0)
