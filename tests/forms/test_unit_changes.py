"""Changes of a panel's or a request's units by an axis of the X/Y/Z plot."""

from typing import Any

import pytest

from lib_ctrlgen.compat.axes import OLD_AXES, OWN_AXES
from lib_ctrlgen.compat.axis_values import axis_values
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.unit_changes import UnitChange, changed_args, changed_request
from lib_ctrlgen.forms.unit_fields import UNITS_FROM, split_values, unit_fields
from lib_ctrlgen.request.spec import parse_request, to_payload

AXES = {axis.label: axis for axis in (*OLD_AXES, *OWN_AXES)}
REQUEST = {
    "units": [
        {"model": "edges", "image": "A", "preprocessor": "canny", "params": {"low_threshold": 50}},
        {"model": "lines", "image": "B", "weight": "1>0"},
    ]
}


def change(label: str, text: str) -> UnitChange:
    (values,) = axis_values(text.split(","), AXES[label].read)
    return UnitChange(AXES[label], values)


def units(*changes: UnitChange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to_payload(changed_request(parse_request(REQUEST), changes))["units"]
    return found


def test_a_field_of_every_unit_or_of_some() -> None:
    assert [unit["weight"] for unit in units(change("[ControlNet] Weight", "0.5"))] == [0.5, 0.5]
    assert [unit.get("weight") for unit in units(change("[CtrlGen] Weight", "[,0.25]"))] == [None, 0.25]
    both = units(change("[ControlNet] Guidance End", "[0.5]"), change("[CtrlGen] Control mode", "prompt"))
    assert [unit.get("guidance_end", 1) for unit in both] == [0.5, 1]
    assert [unit["control_mode"] for unit in both] == ["prompt", "prompt"]


def test_names_and_modes_of_sd_webui_controlnet() -> None:
    changed = units(
        change("[ControlNet] Control Mode", "[My prompt is more important]"),
        change("[ControlNet] Resize Mode", "[,Just Resize]"),
        change("[ControlNet] Preprocessor", "[softedge_hed]"),
        change("[ControlNet] Model", "[,Reference picture (no model)]"),
    )
    assert changed[0]["control_mode"] == "prompt"
    assert changed[0]["preprocessor"] == "hed"
    assert changed[1]["resize_mode"] == "just_resize"
    assert changed[1]["control"] == "reference"


def test_thresholds_are_the_preprocessors_own_parameters() -> None:
    changed = units(
        change("[ControlNet] Pre Threshold A", "[70]"),
        change("[ControlNet] Pre Threshold B", "[90]"),
        change("[ControlNet] Pre Resolution", "[768]"),
    )
    assert changed[0]["params"] == {"low_threshold": 70, "high_threshold": 90, "resolution": 768}
    with pytest.raises(RequestError, match=r"units\[1\].preprocessor: 'none' has no threshold a"):
        units(change("[ControlNet] Pre Threshold A", "70"))


def test_any_field_by_its_path_or_label() -> None:
    changed = units(
        change("[CtrlGen] Field", "units.0.params.low_threshold=20"),
        change("[CtrlGen] Field", "Unit 1 weight=2"),
    )
    assert changed[0]["params"]["low_threshold"] == 20
    assert changed[1]["weight"] == 2


@pytest.mark.parametrize("text", ["units.0.weight", "=1", "units.7.weight=1"])
def test_a_field_that_is_not_there_is_an_error(text: str) -> None:
    with pytest.raises(RequestError):
        units(change("[CtrlGen] Field", text))


def test_a_value_for_a_unit_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RequestError, match="only 2 units"):
        units(change("[CtrlGen] Weight", "[,,1]"))
    with pytest.raises(RequestError, match="switch one on"):
        changed_request(parse_request({}), [change("[CtrlGen] Weight", "1")])


def test_units_are_switched_in_a_panel_and_in_a_request() -> None:
    panel = ["", *([""] * UNITS_FROM), *unit_fields().values(), *unit_fields().values()]
    both = changed_args(panel, [change("[CtrlGen] Enabled", "[1,1]")])
    assert [unit["enabled"] for unit in split_values(both[1:])] == [True, True]
    first = changed_args(panel, [change("[ControlNet] Enabled", "true")])
    assert [unit["enabled"] for unit in split_values(first[1:])] == [True, False]
    (payload,) = changed_args([REQUEST], [change("[CtrlGen] Enabled", "[,False]")])
    assert [unit.get("enabled", True) for unit in payload["units"]] == [True, False]
    assert changed_args(panel, []) == panel
