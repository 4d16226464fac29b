"""Reused residuals: which rows a network computes, and when the stored residuals are dropped."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.unit_fields import panel_values, read_request, unit_fields
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.plots.plan_view import plan_table
from lib_ctrlgen.request.plan import compile_plan
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Position, Rows, UNetCall
from lib_ctrlgen.unet.clocks import Row, RowQueue
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import control_files as files
from tests.support import networks
from tests.support import union_reference as union
from tests.support.networks import Call, NetworkControl, Script, active, random_call
from tests.support.pictures import mask_image
from tests.support.unet_calls import port_of, run, sd_ldm

TOLERANCE = 5e-3  # networks round otherwise for other numbers of rows; residuals of a wrong step are 1e-1
STEPS = 8
KINDS = "c0 c1 u0"
HINT = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(11))


@pytest.fixture(scope="module")
def network() -> Any:
    return networks.controlnet(1)


@dataclass(eq=False)
class Given:
    """A `ResidualControl` that knows what every row gets, by its picture and kind."""

    rows: dict[tuple[bool, int], Residuals] = field(default_factory=dict)

    def residuals(self, call: UNetCall) -> Residuals:
        keys = zip(call.position.rows.cond, call.position.rows.image, strict=True)
        found = [self.rows[key].layers for key in keys]
        layers = [torch.cat(each) for each in zip(*found, strict=True)]
        return Residuals(tuple(layers[:-1]), layers[-1])

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


def given(network: Any, call: Call) -> Given:
    """What the network answers to a call, row by row."""
    control = NetworkControl(network, HINT)
    found = Given()
    for row, key in enumerate(zip(call.rows.cond, call.rows.image, strict=True)):
        one = call.row(row)
        found.rows[key] = control.raw(one.x, one.timestep, one.context)
    return found


def steps_of(unet: Any, units: Sequence[ActiveUnit], calls: Sequence[Call]) -> list[Tensor]:
    """One session over a call per step."""
    script = Script(STEPS, [(step, call.rows) for step, call in enumerate(calls)])
    with torch.no_grad(), ControlSession(port_of(unet), units, script):
        return [run(unet, call) for call in calls]


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def sizes(control: Any) -> list[int]:
    return [len(rows) for rows in control.rows]


CASES: dict[str, tuple[dict[str, Any], list[int | None]]] = {
    # the unit, and for every step the one that its residuals are of
    "every second": ({"reuse": 2}, [0, 0, 2, 2, 4, 4, 6, 6]),
    "every third, with numbers that change": (
        {"reuse": 3, "weight": "1>0.2", "mask_strength": "0>1", "control_mode": "prompt"},
        [0, 0, 0, 3, 3, 3, 6, 6],
    ),
    "in a window, the weight zero in between": (
        {"reuse": 2, "weight": "1@0 hold, 0@0.5 hold, 1@0.625 hold", "guidance_start": 0.125},
        [None, 1, 1, 3, None, 3, 6, 6],
    ),
    "layers": ({"reuse": 20, "layer_weights": [f"{k / 12}>0" for k in range(13)]}, [0] * 8),
}


@pytest.mark.parametrize("name", CASES)
def test_residuals_of_the_last_computed_step(unet: Any, network: Any, name: str) -> None:
    spec, sources = CASES[name]
    calls = [random_call(KINDS, 20 + step) for step in range(STEPS)]
    control = NetworkControl(network, HINT)
    found = steps_of(unet, [active(control, 0, mask_image(1), **spec)], calls)
    assert sizes(control) == [3 for step, source in enumerate(sources) if source == step]
    plain = {key: value for key, value in spec.items() if key != "reuse"}
    answers = {source: given(network, calls[source]) for source in {source or 0 for source in sources}}
    for step, (call, source) in enumerate(zip(calls, sources, strict=True)):
        reference = active(answers[source or 0], 0, mask_image(1), **plain)
        script = Script(STEPS, [(step, call.rows)])
        with torch.no_grad(), ControlSession(port_of(unet), [reference], script):
            assert off(found[step], run(unet, call)) <= TOLERANCE


def test_the_plan_says_it() -> None:
    units = [active(None, 0, **CASES["in a window, the weight zero in between"][0]).spec]  # type: ignore[arg-type]
    plan = compile_plan([(0, units[0])], STEPS)
    assert plan.computed == (tuple(CASES["in a window, the weight zero in between"][1]),)
    assert "0 unit 0 (1 of 2 steps)" in plan.labels
    assert " 3  0, 1 x3, 0, 1 x3" in plan_table(plan)


@pytest.mark.parametrize("reuse", [1, 3])
def test_rows_are_told_by_what_they_are(network: Any, reuse: int) -> None:
    """Conditional and unconditional rows apart, in any order, two parts of one picture (`AND`)."""
    unet = sd_ldm()
    order = [Row(True, 0), Row(True, 0), Row(True, 1), Row(False, 0), Row(False, 1)]
    rows = Rows(*zip(*order, strict=True))
    steps = 4
    calls = [replace(random_call("c0 c0 c1 u0 u1", 30 + step), rows=rows) for step in range(steps)]
    made = []
    for chunks in ([range(5)], [range(3), range(3, 5)], [[3, 4], [0], [1, 2]]):
        queue, control = RowQueue(), NetworkControl(network, HINT)
        outputs = []
        session = ControlSession(LdmUNet(unet), [active(control, reuse=reuse)], queue)
        with torch.no_grad(), session:
            for step, call in enumerate(calls):
                queue.begin(step, steps, [order[row] for chunk in chunks for row in chunk])
                found = {}
                for chunk in chunks:
                    part = call.take(list(chunk))
                    found |= dict(zip(chunk, run(unet, part), strict=True))
                outputs.append(torch.stack([found[row] for row in range(5)]))
        made.append(torch.stack(outputs))
        assert sum(sizes(control)) == 5 * len(range(0, steps, reuse))
    assert off(made[1], made[0]) <= TOLERANCE
    assert off(made[2], made[0]) <= TOLERANCE


def test_rows_that_appear_are_computed(unet: Any, network: Any) -> None:
    kinds = ["c0 u0", "c0", "c0 u0", "c0 u0 c1 u1", "c0 u0 c1 u1"]
    control = NetworkControl(network, HINT)
    steps_of(unet, [active(control, reuse=4)], [random_call(kind, 3 + k) for k, kind in enumerate(kinds)])
    assert [rows.image for rows in control.rows] == [(0, 0), (1, 1), (0, 0, 1, 1)]


@dataclass
class Moving:
    """A clock that says what it is told."""

    position: Position

    def __call__(self, batch: int) -> Position:
        return self.position


def test_when_it_is_forgotten(network: Any) -> None:
    first, other = sd_ldm(), sd_ldm()
    control = NetworkControl(network, HINT)
    call, large = random_call("c0 u0", 1), random_call("c0 u0", 1, (8, 16))
    clock = Moving(Position(0, STEPS, call.rows))
    wide = NetworkControl(network, torch.cat((HINT, HINT), 3))
    units = [active(control, reuse=20)]
    session = ControlSession(LdmUNet(first), units, clock)

    def computes(step: int, hires: bool = False, unet: Any = first, call: Call = call) -> bool:
        before, clock.position = len(control.rows), Position(step, STEPS, call.rows, hires)
        run(unet, call)
        return len(control.rows) > before

    with torch.no_grad(), session:
        assert computes(0)
        assert not computes(1)
        assert computes(1)  # twice in one step: another call of the sampler, at an end of the plan
        assert not computes(2)
        assert computes(1)  # the clock went back
        assert not computes(3)
        assert computes(4, hires=True)
        assert not computes(5, hires=True)
        session.retarget(LdmUNet(other))
        assert computes(6, hires=True, unet=other)
        assert not computes(7, hires=True, unet=other)
        control.hint = wide.hint
        assert computes(7, hires=True, unet=other, call=large)
    kept = [effect.kept for effect in session._effects if hasattr(effect, "kept")]
    assert [each.cache for each in kept] == [{}]


def test_of_units_with_one_network_those_are_asked_that_are_due(tmp_path: Path, unet: Any) -> None:
    save_file(networks.controlnet(1).state_dict(), tmp_path / "net.safetensors")
    payloads = [
        {"model": "net", "image": files.data_url(64, 64, 3 + k), "reuse": reuse, "weight": 0.5}
        for k, reuse in enumerate((1, 2, 3))
    ]
    shape = port_of(unet).shape
    together = list(
        load_units(
            parse_request({"units": payloads}).units,
            Target(store=ModelStore([tmp_path], 1 << 30), shape=shape),
        )
    )
    stores = [ModelStore([tmp_path], 1 << 30) for _ in together]
    apart = [
        replace(load_units([each.spec], Target(store=store, shape=shape))[0], index=each.index)
        for each, store in zip(together, stores, strict=True)
    ]
    calls = [random_call("c0 u0", 40 + step) for step in range(6)]
    rows: list[int] = []
    control: Any = together[0].control
    hook = control.model.network.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
    found = steps_of(unet, together, calls)
    hook.remove()
    assert rows == [6, 2, 4, 4, 4, 2]
    assert max(map(off, found, steps_of(unet, apart, calls))) <= TOLERANCE


def test_maps_of_a_union_are_computed_together_when_one_is_due(tmp_path: Path) -> None:
    """Their weights are in what the network sees: other weights are computed anew."""
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    unet = networks.sgm_unet()
    save_file(union.union_tensors(), tmp_path / "union.safetensors")
    store = ModelStore([tmp_path], 1 << 30)
    calls = [union.sdxl_call("c0 u0", 50 + step)[0] for step in range(STEPS)]

    def rows_of(*units: dict[str, Any]) -> tuple[list[int], list[Tensor]]:
        payloads = [union.unit(k, "depth", **each) for k, each in enumerate(units)]
        loaded = union.load(store, unet, *payloads)
        rows, hook = union.network_calls(loaded)
        script = Script(STEPS, [(step, call.rows) for step, call in enumerate(calls)])
        with torch.no_grad(), ControlSession(LdmUNet(unet), loaded, script):
            found = [union.run(unet, call) for call in calls]
        hook.remove()
        return rows, found

    assert rows_of({"reuse": 4}, {"reuse": 4})[0] == [2, 2]
    assert rows_of({"reuse": 4}, {"reuse": 3})[0] == [2] * 4  # steps 0, 3, 4 and 6
    assert rows_of({"reuse": 4}, {})[0] == [2] * STEPS
    changing = "1@0 hold, 0.5@0.25 hold"
    rows, found = rows_of({"reuse": 20, "weight": changing}, {"reuse": 20})
    assert rows == [2, 2]  # steps 0 and 2
    assert off(found[2], rows_of({"weight": changing}, {})[1][2]) <= TOLERANCE
    rows, _ = rows_of({"reuse": 20, "guidance_end": 0.5}, {"reuse": 20})
    assert rows == [2, 2]  # one left: it was never computed alone


@pytest.mark.parametrize(
    ("model", "words"), [("ip", "nothing during the steps"), ("t2i", "nothing during the steps")]
)
def test_controls_without_residuals_refuse_it(tmp_path: Path, model: str, words: str) -> None:
    unet = files.unet()
    files.save_vision(tmp_path / "tower")
    widths = port_of(unet).shape.attention_hidden
    files.save_adapter(tmp_path / "ip.safetensors", files.plain_projection()[1], widths)
    save_file(files.t2i_adapter().state_dict(), tmp_path / "t2i.safetensors")
    request = parse_request({"units": [{"model": model, "image": files.data_url(), "reuse": 2}]})
    with pytest.raises(RequestError, match=words) as caught:
        load_units(
            request.units, Target(store=ModelStore([tmp_path], 1 << 30), shape=port_of(unet).shape, unet=unet)
        )
    assert caught.value.path == "$.units[0].reuse"


@pytest.mark.parametrize("reuse", [0, 21, 1.5, "2"])
def test_numbers_that_are_none(reuse: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"units": [{"model": "a", "reuse": reuse}]})
    assert caught.value.path == "$.units[0].reuse"


def test_the_panel_says_it_too() -> None:
    shown = unit_fields() | {"enabled": True, "model": "edges", "image": files.picture(), "reuse": 3}
    (unit,) = read_request(["", "", "", "", *blend_values(None), *shown.values()]).units
    assert unit.reuse == 3
    assert panel_values({"model": "edges", "reuse": 3})["reuse"] == 3
