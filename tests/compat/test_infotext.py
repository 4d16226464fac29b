"""Units in infotexts of sd-webui-controlnet and of Forge, in every form that they were written in."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lib_ctrlgen.compat.infotext import READERS, read_infotext, split_unit, units_of
from lib_ctrlgen.compat.unit import ControlNetUnit
from lib_ctrlgen.request.notices import Notices

NEWEST = (
    "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.8, Resize Mode: Resize and Fill, "
    "Processor Res: 512, Threshold A: 100.0, Threshold B: 200.5, Guidance Start: 0.1, Guidance End: 0.9, "
    "Pixel Perfect: True, Control Mode: My prompt is more important"
)
CANNY = {
    "enabled": True,
    "module": "canny",
    "model": "control_v11p_sd15_canny [d14c016b]",
    "weight": 0.8,
    "resize_mode": "Resize and Fill",
    "processor_res": 512,
    "threshold_a": 100.0,
    "threshold_b": 200.5,
    "guidance_start": 0.1,
    "guidance_end": 0.9,
    "pixel_perfect": True,
    "control_mode": "My prompt is more important",
}
OF_MAY_2023 = {
    "preprocessor": "canny",
    "model": "control_v11p_sd15_canny [d14c016b]",
    "weight": 0.8,
    "starting/ending": "(0.1, 0.9)",
    "resize mode": "ResizeMode.OUTER_FIT",
    "pixel perfect": "True",
    "control mode": "ControlMode.PROMPT",
    "preprocessor params": "(512, 100.0, 200.5)",
}
OF_AUGUST_2023 = ", ".join(f"{name}: {value}" for name, value in OF_MAY_2023.items())
OF_MARCH_2023 = {
    "ControlNet-0 Enabled": "True",
    "ControlNet-0 Module": "canny",
    "ControlNet-0 Model": "control_v11p_sd15_canny [d14c016b]",
    "ControlNet-0 Weight": "0.8",
    "ControlNet-0 Guidance Start": "0.1",
    "ControlNet-0 Guidance End": "0.9",
}


def read(params: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    notices = Notices()
    return units_of(params, notices), notices.of()


@pytest.mark.parametrize("text", [NEWEST, OF_AUGUST_2023, str(OF_MAY_2023)])
@pytest.mark.parametrize("key", ["ControlNet 0", "ControlNet", "\nControlNet 0"])
def test_every_text_of_a_unit_is_the_same_unit(text: str, key: str) -> None:
    assert read({"Steps": "20", key: text}) == ([CANNY], ())


def test_the_oldest_form_has_a_key_for_each_field() -> None:
    kept = {"enabled", "module", "model", "weight", "guidance_start", "guidance_end"}
    unit = {name: value for name, value in CANNY.items() if name in kept}
    assert read(OF_MARCH_2023) == ([unit], ())
    single = {"ControlNet Module": "none", "ControlNet Guidance Strength": "0.5", "ControlNet Weight": "1"}
    assert read(single) == ([{"enabled": True, "module": "none", "guidance_end": 0.5, "weight": 1}], ())


def test_a_forge_unit_and_one_of_april_2024_have_more_fields() -> None:
    panel = "Use Preview As Input: False, Batch Image Dir: , "
    forge = panel + "Module: None, Model: None, Hr Option: HiResFixOption.BOTH"
    assert read({"ControlNet 0": forge})[0] == [
        {"enabled": True, "module": "None", "model": "None", "hr_option": "Both"}
    ]
    units, said = read({"ControlNet 0": NEWEST + ", Low Vram: False, Save Detected Map: True, Mask: None"})
    assert units == [CANNY | {"low_vram": False, "save_detected_map": True}]
    assert said == ()


def test_names_with_commas_are_whole_quoted_or_not() -> None:
    quoted = r'Module: canny, Model: "a, b: \"c\" [d14c016b]", Weight: 1.0'
    assert read({"ControlNet 0": quoted})[0][0]["model"] == 'a, b: "c" [d14c016b]'
    bare = "Module: canny, Model: a (one), b [d14c016b], Weight: 1.0"
    assert read({"ControlNet 0": bare})[0][0]["model"] == "a (one), b [d14c016b]"


def test_numbers_are_places_and_gaps_are_disabled() -> None:
    units, _ = read({"ControlNet 2": "Module: canny", "ControlNet 0": "Module: hed"})
    assert [unit["enabled"] for unit in units] == [True, False, True]
    assert [unit.get("module") for unit in units] == ["hed", None, "canny"]
    assert read({"ControlNet 999": "Module: canny"}) == (
        [],
        ("ControlNet 999: is left out: a request has at most 64 units",),
    )


def test_what_cannot_be_read_is_said_by_field() -> None:
    text = "Module: canny, Weight: heavy, Processor Res: nan, Guess Mode: True, Pixel Perfect: maybe"
    units, said = read({"ControlNet 1": text})
    assert units[1] == {"enabled": True, "module": "canny"}
    assert said == (
        "ControlNet 1: Weight: 'heavy' cannot be read and is left out",
        "ControlNet 1: Processor Res: 'nan' cannot be read and is left out",
        "ControlNet 1: Guess Mode is not known and is left out",
        "ControlNet 1: Pixel Perfect: 'maybe' cannot be read and is left out",
    )


def test_every_field_of_a_unit_but_its_pictures_is_read() -> None:
    pictures = {"images", "effective_region_mask", "ipadapter_input"}
    assert {field.name for field in fields(ControlNetUnit)} - pictures == set(READERS)


def test_an_infotext_has_prompts_and_parameters() -> None:
    text = (
        "a cat: orange,\nSteps in snow\nNegative prompt: blur,\nSize: small\n"
        f'Steps: 20, Sampler: DPM++ 2M, Size: 512x768, Version: v1.3.0, \nControlNet 0: "{OF_AUGUST_2023}", '
        r'TI hashes: "a: \"1\", b: 2", Denoising strength: 0.5'
    )
    read_text = read_infotext(text)
    assert read_text.prompt == "a cat: orange,\nSteps in snow"
    assert read_text.negative_prompt == "blur,\nSize: small"
    assert read_text.fields["Size"] == "512x768"
    assert read_text.fields["TI hashes"] == 'a: "1", b: 2'
    assert read_text.fields["Denoising strength"] == "0.5"
    assert read(read_text.fields) == ([CANNY], ())
    assert read_infotext("only a prompt: of words").fields == {}
    assert read_infotext("a\nSampler: Euler, Steps: 3, Seed: 1").fields["Steps"] == "3"


@given(
    some.dictionaries(some.sampled_from(["ControlNet 0", "ControlNet", "ControlNet-3 Weight"]), some.text())
)
def test_no_text_is_an_exception(params: dict[str, str]) -> None:
    for text in params.values():
        read_infotext(text)
        split_unit("{" + text)
    units, _ = read(params)
    assert all("enabled" in unit for unit in units)


@pytest.mark.parametrize("value", [None, 3, ["Module: canny"], {"Module": "canny"}, b"Module: canny"])
def test_a_value_that_is_no_text_is_no_unit(value: Any) -> None:
    assert read({"ControlNet 0": value}) == ([], ())
