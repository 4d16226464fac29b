"""Units of sd-webui-controlnet in every form in which its clients and other extensions send them."""

import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.compat.module_list import FORGE_NAMES, find_module, sorted_modules
from lib_ctrlgen.compat.reading import OFF, read_unit, read_units
from lib_ctrlgen.compat.unit import ControlNetUnit, MaskedImage
from lib_ctrlgen.compat.values import CONTROL_MODES, HIRES_OPTIONS, RESIZE_MODES
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.request.notices import Notices

PATH = "$.args[0]"
RED = encode_image(Image.new("RGB", (6, 4), "red"))
GREY = encode_image(Image.new("L", (6, 4), 100)).partition(",")[2]


class Mode(Enum):
    """An enum of another extension; only the values count."""

    BALANCED = "Balanced"
    PROMPT = "My prompt is more important"
    CONTROL = "ControlNet is more important"


def read(notices: Notices | None = None, **fields: Any) -> ControlNetUnit:
    return read_unit({"enabled": True, **fields}, PATH, Notices() if notices is None else notices)


def test_the_defaults_are_those_of_the_skeleton() -> None:
    assert read() == ControlNetUnit()
    assert read(module=None, model=None, image=None, mask="", weight=None) == ControlNetUnit()


@given(
    mode=st.sampled_from(range(3)),
    form=st.sampled_from(["text", "lower", "int", "digit", "tuple", "list", "enum", "member", "qualified"]),
)
def test_every_spelling_of_an_enum_means_the_same(mode: int, form: str) -> None:
    text, member = CONTROL_MODES[mode], list(Mode)[mode]
    forms = {
        "text": text,
        "lower": text.lower(),
        "int": mode,
        "digit": str(mode),
        "tuple": (mode,),
        "list": [text],
        "enum": member,
        "member": member.name,
        "qualified": str(member),
    }
    assert read(control_mode=forms[form]).control_mode == text
    assert read(resize_mode=[mode]).resize_mode == RESIZE_MODES[mode]
    assert read(hr_option=HIRES_OPTIONS[mode].upper()).hr_option == HIRES_OPTIONS[mode]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("Scale to Fit (Inner Fit)", "Crop and Resize"),
        ("Envelope (Outer Fit)", "Resize and Fill"),
        ("Inner Fit (Scale to Fit)", "Crop and Resize"),
        ("ResizeMode.OUTER_FIT", "Resize and Fill"),
        (3, "Just Resize"),
        (7, "Just Resize"),
    ],
)
def test_resize_modes_of_older_clients(value: Any, wanted: str) -> None:
    notices = Notices()
    assert read(notices, resize_mode=value).resize_mode == wanted
    assert bool(notices.of()) == (value == 7)


@given(st.sampled_from(sorted_modules()), st.booleans(), st.floats(0, 1e4), st.floats(0, 1e4))
def test_numbers_within_the_modules_range_are_kept(module: Any, label: bool, a: float, b: float) -> None:
    notices = Notices()
    numbers = {"processor_res": int(a), "threshold_a": a, "threshold_b": b}
    unit = read(notices, module=module.label if label else module.name, **numbers)
    assert unit.module == module.name
    sliders = {"processor_res": module.resolution, "threshold_a": module.a, "threshold_b": module.b}
    replaced = set()
    for name, slider in sliders.items():
        kept = slider is not None and slider.holds(numbers[name])
        assert getattr(unit, name) == (numbers[name] if kept else -1)
        replaced |= {name} if slider is not None and not kept else set()
    assert {text.split(":")[0] for text in notices.of()} == {f"{PATH}.{name}" for name in replaced}


def test_names_of_forge_and_labels_are_found() -> None:
    assert all(find_module(name) for name in FORGE_NAMES)
    assert len({each.label.lower() for each in sorted_modules()}) == len(sorted_modules()) == 72
    assert read(module="  Depth_MIDAS ").module == "depth"
    assert read(module="NONE", model="none").model == "None"


ARRAY = np.zeros((4, 6, 3), np.uint8)
ARRAY[..., 0] = 255


@pytest.mark.parametrize(
    ("image", "mask", "pictures"),
    [
        (RED, None, 1),
        ({"image": RED, "mask": None}, None, 1),
        ({"image": RED, "mask": GREY}, None, 1),
        ([RED, GREY], None, 1),
        ((ARRAY, ARRAY[:, :, :1]), None, 1),
        (RED, GREY, 1),
        ({"image": ARRAY}, GREY, 1),
        ([{"image": RED}, {"image": RED, "mask": GREY}], None, 2),
        ([[RED, GREY], (RED,), {"image": ARRAY}], None, 3),
        (Image.new("RGB", (6, 4), "red"), None, 1),
        ("", "", 0),
        ([], None, 0),
        ({}, None, 0),
        ({"image": None}, None, 0),
    ],
)
def test_every_form_of_a_picture(image: Any, mask: Any, pictures: int) -> None:
    found = read(image=image, mask=mask).images
    assert len(found) == pictures
    for each in found:
        assert decode_image(each.image, "").convert("RGB").getpixel((0, 0)) == (255, 0, 0)
        assert not each.mask or decode_image(each.mask, "").size == (6, 4)
    assert mask in (None, "") or found[0].mask


def test_aliases_and_a_field_beside_its_alias() -> None:
    notices = Notices()
    given = {"guidance": 0.4, "lowvram": True, "input_image": RED, "mask_image": GREY}
    unit = read(notices, **given)
    assert (unit.guidance_end, unit.low_vram) == (0.4, True)
    assert unit.images == (MaskedImage(image=RED, mask=GREY),)
    assert notices.of() == ()
    assert read(notices, guidance=0.4, guidance_end=0.9).guidance_end == 0.9
    assert read(notices, image=RED, input_image=None).images[0].image == RED
    assert notices.of() == (f"{PATH}.guidance: is not read, because 'guidance_end' is there too",)
    assert read(guidance=1.0, guidance_end=1).guidance_end == 1


def test_unknown_and_obsolete_fields_are_named_and_known_ones_of_other_pages_are_not() -> None:
    notices = Notices()
    read(notices, guess_mode=True, weighting=1, is_ui=False, generated_image=1, animatediff_batch=False)
    assert [text.split(": ")[0] for text in notices.of()] == [f"{PATH}.guess_mode", f"{PATH}.weighting"]
    assert "control_mode" in notices.of()[0]
    assert "weight" in notices.of()[1]
    read(notices, animatediff_batch=True)
    assert notices.of()[-1].startswith(f"{PATH}.animatediff_batch: is not read")


@pytest.mark.parametrize("value", [None, "", {}, {"weight": 5}, {"enabled": False, "module": "x"}, OFF])
def test_what_is_not_enabled_is_not_read(value: Any) -> None:
    notices = Notices()
    assert read_units([value, None], "$", notices) == (OFF, OFF)
    assert notices.of() == ()


def test_a_unit_that_does_not_say_whether_it_is_enabled_is_used_if_it_names_something() -> None:
    notices = Notices()
    assert read_unit({"module": "canny"}, PATH, notices).enabled
    assert read_unit({"model": "edges"}, PATH, notices).enabled
    assert {text.split(":")[0] for text in notices.of()} == {f"{PATH}.enabled"}
    assert not read_unit({"module": "none", "model": "None", "image": RED}, PATH, notices).enabled


def test_a_python_unit_of_another_extension_is_read_by_its_attributes() -> None:
    other = SimpleNamespace(
        enabled=True, module="canny", model="a [0123abcd]", image={"image": ARRAY}, weight=np.float32(0.5)
    )
    notices = Notices()
    unit = read_unit(other, PATH, notices)
    assert (unit.weight, unit.model, unit.module) == (0.5, "a [0123abcd]", "canny")
    assert notices.of() == ()
    assert read_unit(unit, PATH, notices) is unit


PICKLE = "UEsDBBQAAAAIAAAAAAA="


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"weight": 2.5}, ".weight", "from 0 to 2"),
        ({"weight": float("nan")}, ".weight", "expected a number"),
        ({"weight": True}, ".weight", "expected a number"),
        ({"guidance_start": 0.6, "guidance_end": 0.5}, ".guidance_start", "after guidance_end"),
        ({"guidance": 1.5}, ".guidance_end", "from 0 to 1"),
        ({"module": "cany"}, ".module", "nearest: canny"),
        ({"module": 3}, ".module", "expected a text"),
        ({"model": ["a", "b"]}, ".model", "expected a text"),
        ({"control_mode": 3}, ".control_mode", "'Balanced', 'My prompt"),
        ({"image": "http://a/b.png"}, ".image", "URLs are not read"),
        ({"image": "C:\\x.png"}, ".image", "paths on the server"),
        ({"image": [RED, RED, RED]}, ".image", "one picture and its mask"),
        ({"image": {"image": RED, "alpha": 1}}, ".image.alpha", "'image' and 'mask' alone"),
        ({"image": [{"image": RED}, {"mask": GREY}]}, ".image[1].image", "is empty"),
        ({"image": ARRAY.astype(float)}, ".image", "array of uint8"),
        ({"image": 5}, ".image", "expected base64"),
        ({"mask": GREY}, ".mask", "with no picture"),
        ({"advanced_weighting": []}, ".advanced_weighting", "a weight for each layer"),
        ({"advanced_weighting": [1, "x"]}, ".advanced_weighting[1]", "expected a number"),
        ({"ipadapter_input": PICKLE}, ".ipadapter_input", "a pickle"),
        ({"ipadapter_input": ["aGVsbG8="]}, ".ipadapter_input[0]", "no.* safetensors|not a safetensors"),
        ({"input_mode": "batch"}, ".input_mode", "a unit for each picture"),
        ({"pixel_perfect": "maybe"}, ".pixel_perfect", "true or false"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(fields: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        read(**fields)
    assert raised.value.path == PATH + place


@pytest.mark.parametrize("value", [True, 3, "unit", [1, 2]])
def test_what_is_no_unit_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match="expected a unit"):
        read_units([None, value], "$.args", Notices())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    *("enabled", "module", "model", "weight", "image", "mask", "resize_mode", "processor_res", "threshold_a"),
    *("guidance", "guidance_end", "control_mode", "hr_option", "advanced_weighting", "ipadapter_input"),
    *("effective_region_mask", "union_control_type", "pulid_mode", "input_mode", "low_vram", "lowvram"),
]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_a_unit_or_an_error_with_a_path(fields: dict[str, Any]) -> None:
    try:
        unit = read_unit(fields, PATH, Notices())
    except RequestError as error:
        place = error.path
    else:
        place = PATH
        json.dumps(vars(unit) | {"images": len(unit.images)}, allow_nan=False)
    assert place.startswith(PATH)
