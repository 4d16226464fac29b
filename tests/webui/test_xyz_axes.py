"""The axes that CtrlGen adds to the WebUI's X/Y/Z plot."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.constant_control import PICTURE, REQUEST, Pushes
from tests.support.fake_webui import FakeWebUI, Processing


@dataclass
class AxisOption:
    """The plot's own class."""

    label: str
    type: Any
    apply: Any
    format_value: Any = None
    confirm: Any = None
    cost: float = 0.0
    choices: Any = None


@pytest.fixture
def plot(script: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plot's module, with the axes added."""
    from modules import scripts

    from lib_ctrlgen.webui.xyz_axes import add_axes

    made = SimpleNamespace(AxisOption=AxisOption, axis_options=[AxisOption("[ControlNet] Model", str, None)])
    others = SimpleNamespace(script_class=type("Other", (), {"__module__": "other.py"}), module=None)
    data = SimpleNamespace(script_class=type("Script", (), {"__module__": "xyz_grid.py"}), module=made)
    monkeypatch.setattr(scripts, "scripts_data", [others, data], raising=False)
    add_axes()
    add_axes()
    return made


def applied(plot: Any, p: Processing, label: str, pieces: list[str]) -> str:
    """Apply the first value of an axis to a cell; returns how the plot shows it."""
    option = next(each for each in plot.axis_options if each.label == label)
    values: list[Any] = [option.type(piece) for piece in pieces]
    option.confirm(p, values)
    option.apply(p, values[0], values)
    return str(option.format_value(p, option, values[0]))


def test_each_axis_is_there_once(plot: Any) -> None:
    labels = [option.label for option in plot.axis_options]
    assert len(labels) == len(set(labels))
    assert {"[ControlNet] Weight", "[CtrlGen] Weight", "[CtrlGen] Field"} <= set(labels)
    models = next(option for option in plot.axis_options if option.label == "[CtrlGen] Model")
    assert "StyleAligned (no model)" in models.choices()


def test_a_cell_changes_the_units_of_its_own_generation(
    host: FakeWebUI, script: Any, control: Pushes, plot: Any
) -> None:
    p = Processing(host)
    shown = applied(plot, p, "[ControlNet] Weight", ["[0.25]"])
    assert shown == "[ControlNet] Weight: [0.25]"
    host.process_images(script, p, REQUEST)
    assert '"weight":0.25' in p.extra_generation_params["CtrlGen"]
    assert p.control_net_weight == [0.25]
    other = Processing(host)
    host.process_images(script, other, REQUEST)
    assert '"weight":0.25' not in other.extra_generation_params["CtrlGen"]


def test_a_unit_can_be_switched_off(host: FakeWebUI, script: Any, control: Pushes, plot: Any) -> None:
    p = Processing(host)
    applied(plot, p, "[CtrlGen] Enabled", ["False"])
    host.process_images(script, p, {"units": [{"model": "edges", "image": PICTURE}]})
    assert p.extra_generation_params == {}


def test_units_for_controlnet_are_changed_where_there_are_any(host: FakeWebUI, plot: Any) -> None:
    from lib_ctrlgen.webui.external_code.remote_values import with_remote_values

    p = Processing(host)
    applied(plot, p, "[ControlNet] Control Mode", ["[My prompt is more important", "Balanced]"])
    first, second = with_remote_values(p, [{"model": "edges"}, {"model": "lines"}])
    assert first == {"model": "edges", "control_mode": "My prompt is more important"}
    assert second["control_mode"] == "Balanced"
    assert with_remote_values(p, []) == ()
