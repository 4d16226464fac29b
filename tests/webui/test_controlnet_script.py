"""CtrlGen's script "ControlNet": its units join the one request, and without any nothing changes."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib_ctrlgen.errors import RequestError
from tests.support.constant_control import PICTURE, REQUEST, Pushes, hooks
from tests.support.controlnet_runner import Runner
from tests.support.fake_webui import FakeWebUI, Processing, fresh

UNIT = {"enabled": True, "module": "none", "model": "edges", "image": PICTURE.partition(",")[2]}
ARGS = "$.alwayson_scripts.ControlNet.args"


@pytest.fixture
def runner(host: FakeWebUI) -> Runner:
    return Runner(host)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> Pushes:
    """Every enabled unit is this control, whatever its model."""
    from lib_ctrlgen.controls.unit import ActiveUnit

    made = Pushes()

    def load_units(units: Any, *_: Any, **__: Any) -> tuple[ActiveUnit, ...]:
        chosen = [(i, unit) for i, unit in enumerate(units) if unit.enabled]
        return tuple(ActiveUnit(index=i, spec=unit, control=made) for i, unit in chosen)

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    return made


def recorded(p: Processing) -> list[Any]:
    return list(json.loads(p.extra_generation_params["CtrlGen"])["units"])


@pytest.mark.parametrize(
    "units", [(), [None] * 3, [{}], [{"enabled": False, "module": "x", "weight": 9}], ["", None]], ids=str
)
def test_nothing_enabled_changes_nothing(host: FakeWebUI, runner: Runner, units: Any) -> None:
    picture, processed, p = runner.generate(units)
    assert torch.equal(picture, Processing(host).sample())
    assert (p.extra_generation_params, processed.images, hooks(host.unet)) == ({}, ["picture"], 0)
    assert "sample" not in vars(p)


def test_every_argument_of_every_script_may_be_none(host: FakeWebUI, runner: Runner) -> None:
    """Deforum sets all script arguments to None."""
    runner.args = [0] * 2 + [None] * (len(runner.args) - 2)
    picture, _, p = runner.generate()
    assert torch.equal(picture, Processing(host).sample())
    assert p.extra_generation_params == {}


def test_its_units_follow_those_of_ctrlgens_own_script_in_one_request(
    runner: Runner, control: Pushes
) -> None:
    units = [UNIT, None, {**UNIT, "model": "depth", "weight": 0.5}]
    _, processed, p = runner.generate(units, REQUEST)
    assert [(each["model"], each.get("weight", 1)) for each in recorded(p)] == [
        ("edges", "1 in 0..0.5"),
        ("edges", 1),
        ("depth", 0.5),
    ]
    assert "semantics" not in recorded(p)[0]
    assert recorded(p)[1]["semantics"] == {}
    assert PICTURE.partition(",")[2] not in p.extra_generation_params["CtrlGen"]
    assert len(processed.images) == 4
    assert len(processed.infotexts) == 4


def test_without_ctrlgens_own_script_it_does_the_work_itself(host: FakeWebUI, control: Pushes) -> None:
    """ADetailer and Deforum keep only the script "ControlNet"."""
    alone = Runner(host, own=False)
    picture, processed, p = alone.generate([UNIT])
    assert not torch.equal(picture, Processing(host).sample())
    assert len(recorded(p)) == 1
    assert len(processed.images) == 2
    again, _, p = alone.generate([])
    assert torch.equal(again, Processing(host).sample()), "no unit is left of the first generation"
    assert p.extra_generation_params == {}


def test_a_python_unit_with_arrays_is_the_same_as_base64(runner: Runner, control: Pushes) -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    array[..., 0] = 255
    python = SimpleNamespace(**(UNIT | {"image": {"image": array}}))
    _, _, given = runner.generate([python])
    _, _, sent = runner.generate([UNIT])
    assert recorded(given) == recorded(sent)


@pytest.mark.parametrize(
    ("unit", "place", "words"),
    [
        ({"weight": 3}, "[1].weight", "from 0 to 2"),
        ({"module": "canni"}, "[1].module", "nearest: canny"),
        ({"module": "depth_hand_refiner"}, "[1].module", "does not have the preprocessor"),
        ({"model": "None"}, "[1].model", "is required"),
        ({"image": None}, "[1].image", "is required"),
        ({"model": "absent"}, "[1].model", "no model named 'absent'"),
        ({"ipadapter_input": "CAAAAAAAAAB7fQ=="}, "[1].ipadapter_input", "not read here"),
    ],
    ids=str,
)
def test_what_cannot_be_carried_out_stops_the_request_at_its_place(
    runner: Runner, unit: Any, place: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        runner.generate([None, UNIT | unit])
    assert (raised.value.path, raised.value.status_code) == (ARGS + place, 422)


def test_errors_and_warnings_while_sampling_have_the_clients_path(runner: Runner, control: Pushes) -> None:
    _, _, p = runner.generate([UNIT | {"weighting": 1}], REQUEST)
    assert p.extra_generation_params["CtrlGen warnings"].startswith(f"{ARGS}[0].weighting: unknown field")
    control.value = float("nan")
    with pytest.raises(RequestError, match="not finite") as raised:
        runner.generate([None, UNIT])
    assert raised.value.path == f"{ARGS}[1]"


def test_the_init_picture_serves_a_unit_without_one(runner: Runner, control: Pushes) -> None:
    from PIL import Image

    init = Image.new("RGB", (64, 64), "blue")
    options = {"init_images": [init], "image_mask": None, "resize_mode": 0}
    _, _, p = runner.generate([UNIT | {"image": None}], **options)
    assert recorded(p)[0]["image_from"] == "init"


def test_the_maps_are_those_that_units_and_settings_ask_for(
    host: FakeWebUI, runner: Runner, control: Pushes
) -> None:
    _, processed, _ = runner.generate([UNIT | {"save_detected_map": False}, UNIT], enable_hr=True)
    assert [each.size for each in processed.images[1:]] == [(64, 64), (64, 64)], "of both passes"
    host.opts.data |= {"control_net_no_detectmap": True, "ctrlgen_append_maps": True}
    _, processed, _ = runner.generate([UNIT], REQUEST)
    assert len(processed.images) == 2, "CtrlGen's own unit alone"


def test_the_tuner_refuses_units_that_it_cannot_vary(runner: Runner) -> None:
    cells = fresh_cells(runner)
    with pytest.raises(RequestError, match="the tuner varies") as raised:
        runner.generate([UNIT], cells)
    assert raised.value.path == ARGS


def fresh_cells(runner: Runner) -> Any:
    from lib_ctrlgen.request.spec import ControlRequest
    from lib_ctrlgen.webui.sampling.cell_batch import CellBatch

    return CellBatch(requests=(ControlRequest(),) * 2, sizes=(1, 1), scales=(5.0, 5.0))


def test_it_exists_unless_another_extension_has_the_title(host: FakeWebUI) -> None:
    name = fresh("controlnet.name")
    scripts = host.loaded["modules.scripts"]
    made = fresh("controlnet.script").ControlNetScript()
    other = type("Script", (), {"title": lambda _self: "controlnet", "__init__": lambda _self: 1 / 0})
    m2m = type("Script", (), {"title": lambda _self: "controlnet m2m"})

    def entries(*classes: Any) -> list[Any]:
        return [SimpleNamespace(script_class=each, basedir="extensions/old") for each in classes]

    scripts.scripts_data = entries(type(made), m2m)
    assert made.show(False) is scripts.AlwaysVisible
    assert name.taken_note() == ""
    scripts.scripts_data = entries(type(made), m2m, other)
    assert made.show(False) is False
    assert "extensions/old" in name.taken_note()
    host.opts.data["ctrlgen_controlnet_api"] = "always"
    assert made.show(True) is scripts.AlwaysVisible
    host.opts.data["ctrlgen_controlnet_api"] = "never"
    scripts.scripts_data = []
    assert made.show(True) is False


def test_it_has_at_least_ten_arguments(host: FakeWebUI) -> None:
    made = fresh("controlnet.script").ControlNetScript()
    assert [each.value.enabled for each in made.ui(False)] == [False] * 10, "AnimateDiff reads `enabled`"
    host.opts.data["control_net_unit_count"] = 12
    assert len(made.ui(True)) == 12
