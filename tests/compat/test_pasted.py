"""Units of sd-webui-controlnet in an infotext, restored as units of CtrlGen's panel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.compat.pasted import pasted_units
from lib_ctrlgen.forms.unit_fields import panel_values
from lib_ctrlgen.request.notices import Notices
from tests.support.unit_values import with_params

OLD = (
    "Module: canny, Model: lines, v2 [d14c016b], Weight: 0.8, Resize Mode: Just Resize, Processor Res: 768, "
    "Threshold A: 60.0, Threshold B: 120.0, Guidance Start: 0.1, Guidance End: 0.6, Pixel Perfect: False, "
    "Control Mode: My prompt is more important"
)
FORGE = "Module: depth_midas, Model: depth [aaaaaaaa], Weight: 1, Hr Option: Both, Use Preview As Input: True"


def test_every_field_that_the_panel_shows_is_restored() -> None:
    notices = Notices()
    (unit,) = pasted_units({"ControlNet 0": OLD, "Size": "512x768"}, "sd15", notices)
    shown = with_params(panel_values(unit))
    assert shown["model"] == "lines, v2 [d14c016b]"
    assert shown["enabled"] is True
    assert shown["preprocessor"] == "canny"
    assert (shown["canny_low_threshold"], shown["canny_high_threshold"]) == (60, 120)
    assert (shown["weight"], shown["guidance_start"], shown["guidance_end"]) == (0.8, 0.1, 0.6)
    assert (shown["control_mode"], shown["resize_mode"]) == ("prompt", "just_resize")


def test_units_stay_in_their_places() -> None:
    first, second = pasted_units({"ControlNet 1": FORGE}, "sd15", Notices())
    assert first == {"enabled": False}
    assert (second["model"], second["preprocessor"]) == ("depth [aaaaaaaa]", "depth")


def test_a_unit_with_an_unknown_preprocessor_keeps_its_model_and_weight() -> None:
    notices = Notices()
    text = "Module: depth_of_tomorrow, Model: depth [aaaaaaaa], Weight: 0.4"
    (unit,) = pasted_units({"ControlNet 0": text}, "sd15", notices)
    assert (unit["model"], unit["weight"], unit["enabled"]) == ("depth [aaaaaaaa]", 0.4, True)
    assert any("depth_of_tomorrow" in text for text in notices.of())


@given(
    st.dictionaries(st.sampled_from(["ControlNet 0", "ControlNet", "ControlNet-1 Model", "Size"]), st.text())
)
def test_no_text_raises(params: dict[str, str]) -> None:
    assert isinstance(pasted_units(params, "sdxl", Notices()), list)


@pytest.mark.parametrize("params", [{}, {"Steps": "20"}, {"ControlNet 0": ""}])
def test_an_infotext_without_units_restores_nothing(params: dict[str, str]) -> None:
    assert not any(unit.get("model") for unit in pasted_units(params, "sd15", Notices()))
