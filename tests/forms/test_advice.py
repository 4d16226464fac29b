"""What is said about a unit before it is generated with, and what its button does."""

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageDraw

from lib_ctrlgen.forms.advice import UnitChoices, advice, file_of, look_of
from lib_ctrlgen.forms.control_files import fileless
from lib_ctrlgen.forms.kinds import kind_of_preprocessor
from lib_ctrlgen.request.catalogue import preprocessor_names

CANNY, XL = file_of("control_v11p_sd15_canny"), file_of("diffusers_xl_canny_full")
DEPTH, STYLE = file_of("control_v11f1p_sd15_depth"), file_of("ip-adapter_sd15")
PHOTO: Any = {"enabled": True, "picture": "photo", "model": CANNY.name, "preprocessor": "canny"}
FILES = (CANNY, XL, DEPTH, STYLE, *fileless())
GOOD = UnitChoices(**PHOTO, file=CANNY, base="SD1.5", files=FILES)


def said(**changes: Any) -> list[tuple[str, object]]:
    """The action and value of each advice about a good unit with these changes."""
    return [(each.action, each.value) for each in advice(replace(GOOD, **changes))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"enabled": False, "picture": "", "model": "None", "file": None},
        {"enabled": False, "picture": ""},
        {"picture": "map", "preprocessor": "none"},
        {"picture": "map"},  # a grey photo looks like that, too
        {"picture": "lines", "preprocessor": "none"},
        {"picture": "lines", "preprocessor": "invert"},
        {"picture": "lines", "file": DEPTH, "model": DEPTH.name, "preprocessor": "depth"},
        {"picture": "pose", "preprocessor": "openpose_json"},
        {"preprocessor": "canny | invert"},
        {"preprocessor": "invert"},
        {"file": STYLE, "model": STYLE.name, "preprocessor": "none"},
        {"file": XL, "model": XL.name, "base": "SDXL"},
        {"file": XL, "model": XL.name, "base": ""},
        {"file": FILES[-2], "model": FILES[-2].name, "picture": "", "preprocessor": "none"},
    ],
)
def test_nothing_is_said_about_what_is_right(changes: dict[str, object]) -> None:
    assert said(**changes) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"enabled": False}, [("switch_on", True)]),
        ({"enabled": False, "preprocessor": "none"}, [("switch_on", True), ("preprocessor", "canny")]),
        ({"model": "None", "file": None}, [("", None)]),
        ({"picture": ""}, [("", None)]),
        ({"base": "SDXL"}, [("model", XL.name)]),
        ({"base": "SD2"}, [("", None)]),
        ({"preprocessor": "none"}, [("preprocessor", "canny")]),
        ({"preprocessor": "none", "picture": "flat"}, [("preprocessor", "canny")]),
        ({"picture": "lines"}, [("preprocessor", "none")]),
        ({"picture": "lines", "preprocessor": "invert | canny"}, [("preprocessor", "none")]),
        ({"preprocessor": "depth"}, [("preprocessor", "canny")]),
        ({"preprocessor": "invert | depth"}, [("preprocessor", "canny")]),
        ({"model": "control_v11p_sd15_canny_gone", "file": None}, [("model", CANNY.name)]),
    ],
)
def test_what_is_wrong_is_said_with_what_mends_it(
    changes: dict[str, object], expected: list[tuple[str, object]]
) -> None:
    assert said(**changes) == expected


def test_the_missing_weights_of_a_preprocessor_are_replaced_by_another() -> None:
    unit = replace(GOOD, model=DEPTH.name, file=DEPTH, preprocessor="depth")
    (found,) = advice(replace(unit, is_ready={"depth_zoe"}.__contains__))
    assert (found.label, "weights" in found.text) == ("Use depth_zoe", True)
    assert advice(replace(unit, is_ready=lambda _: False)) == ()  # the download is offered, no other helps


def test_a_union_is_judged_by_its_preprocessor() -> None:
    union = file_of("controlnet-union-sdxl-1.0")
    unit = replace(GOOD, file=union, model=union.name, base="SDXL")
    assert advice(unit) == advice(replace(unit, picture="map", preprocessor="none")) == ()
    (photo,) = advice(replace(unit, preprocessor="none", is_ready={"canny", "mlsd"}.__contains__))
    assert (photo.label, "one of Pose, Depth," in photo.text) == ("Use canny", True)
    (bare,) = advice(replace(unit, preprocessor="none", is_ready=lambda _: False))
    assert bare.action == ""
    (already,) = advice(replace(unit, picture="lines"))  # without a preprocessor it does not know the type
    assert (already.action, "type of the map" in already.text) == ("", True)


def test_every_preprocessor_of_maps_has_a_kind() -> None:
    """The others fit every model: they change the colours of a picture or of a map, whatever it shows."""
    assert {name for name in preprocessor_names() if not kind_of_preprocessor(name)} == {
        "none",
        "invert",
        "threshold",
    }


def test_control_maps_are_told_from_photos() -> None:
    photo = Image.radial_gradient("L").resize((48, 48))
    coloured = Image.merge("RGB", (photo, photo.rotate(90), photo.rotate(180).point(lambda v: v // 2)))
    lines = Image.new("RGB", (48, 48), "black")
    ImageDraw.Draw(lines).line((0, 0, 47, 40), "white", 2)
    ramp = Image.linear_gradient("L").resize((48, 48))
    flat = Image.new("RGB", (48, 48), "white")
    ImageDraw.Draw(flat).ellipse((8, 8, 40, 40), "red", "black")
    assert look_of(coloured.rotate(30, fillcolor=(90, 60, 30))) == "photo"
    assert [look_of(each) for each in (lines, ramp, flat)] == ["map", "map", "flat"]
