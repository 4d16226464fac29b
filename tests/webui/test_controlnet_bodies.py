"""Any JSON for ControlNet is a picture, or an error with a path: bodies, units, and what the routes get."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from tests.support.constant_control import PICTURE
from tests.support.controlnet_runner import Runner
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.properties import examples

SCALAR = st.none() | st.booleans() | st.integers(-3, 3000) | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    SCALAR | st.just(PICTURE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("module", "model", "image", "mask", "weight", "control_mode", "threshold_a", "guidance_end", "x")
UNIT = st.dictionaries(st.sampled_from(NAMES), JSON).map(lambda fields: {"enabled": True, **fields})
SHARED = [HealthCheck.function_scoped_fixture]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"alwayson_scripts": {"ControlNet": {"args": [{}] * 3}}}, ""),
        ({"alwayson_scripts": {"controlnet": {}}}, ""),
        ({"controlnet_units": [{"model": "a", "image": "b"}], "alwayson_scripts": {"ControlNet": {}}}, ""),
        ({"controlnet_units": []}, ""),
        ({"controlnet_units": [{"input_image": "b"}]}, "$.controlnet_units"),
        ({"alwayson_scripts": {"ControlNet": [{}]}}, "$.alwayson_scripts.ControlNet"),
        ({"alwayson_scripts": {"ControlNet": {"units": []}}}, "$.alwayson_scripts.ControlNet"),
        ({"alwayson_scripts": {"ControlNet": {"args": {}}}}, "$.alwayson_scripts.ControlNet.args"),
        ({"alwayson_scripts": {"ControlNet": {"args": [None] * 4}}}, "$.alwayson_scripts.ControlNet.args[3]"),
        ({"alwayson_scripts": {"ControlNet": {}, "CONTROLNET": {}}}, "$.alwayson_scripts.CONTROLNET"),
    ],
    ids=str,
)
def test_units_that_the_webui_would_drop_are_refused(body: Any, path: str) -> None:
    from lib_ctrlgen.webui.bodies import check_body

    found = ""
    try:
        check_body(body, 1, units=3)
    except RequestError as error:
        found = error.path
    assert found == path


def test_without_the_script_its_bodies_are_another_extensions() -> None:
    from lib_ctrlgen.webui.bodies import check_body

    check_body({"alwayson_scripts": {"ControlNet": {"args": [{}] * 99}}, "controlnet_units": [{"a": 1}]}, 1)
    check_body({"alwayson_scripts": {"ControlNet": {"args": [{"model": "a", "image": "b"}]}}}, 1, units=3)
    with pytest.raises(RequestError, match="does not read a unit here"):
        check_body({"other": [{"model": "a", "image": "b"}]}, 1, units=3)


@settings(suppress_health_check=SHARED)
@given(body=st.dictionaries(st.sampled_from(["alwayson_scripts", "controlnet_units"]), JSON))
def test_any_body_passes_or_is_refused_with_a_path(body: Any) -> None:
    from lib_ctrlgen.webui.controlnet.bodies import check_controlnet

    place = "$"
    try:
        check_controlnet(body, 3)
    except RequestError as error:
        place = error.path
    assert place.startswith("$")


def test_any_unit_is_a_picture_or_an_error_at_its_place(host: FakeWebUI) -> None:
    runner = Runner(host)

    @examples(12)
    @given(units=st.lists(UNIT, min_size=1, max_size=2))
    def tried(units: Any) -> None:
        place = "$.alwayson_scripts.ControlNet.args["
        try:
            runner.generate(units)
        except RequestError as error:
            place = error.path
        assert place.startswith("$.alwayson_scripts.ControlNet.args[")

    tried()


def test_any_body_of_detect_is_read_or_refused(host: FakeWebUI) -> None:
    wanted = fresh("controlnet.detection").read_wanted
    fields = ("module", "input_images", "images", "masks", "processor_res", "threshold_a")
    named = st.sampled_from([f"controlnet_{name}" for name in fields])
    modules = st.sampled_from(["canny", "inpaint", "none", "hed", "x"])

    @given(body=JSON | st.dictionaries(named, JSON | st.lists(st.just(PICTURE)) | modules))
    def tried(body: Any) -> None:
        status = 200
        try:
            wanted(body)
        except (HTTPException, RequestError) as error:
            status = error.status_code
        assert status in (200, 422)

    tried()
