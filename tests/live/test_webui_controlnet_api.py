"""The name of sd-webui-controlnet in the real WebUI: the JSON of webuiapi 0.9.17 and of older clients.

The units are written from the source of webuiapi's `ControlNetUnit.to_dict`; the routes are its own.
"""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.live.conftest import EDGES, PLAIN, Answer, WebUI, encoded, scene

pytestmark = pytest.mark.live
ARGS = "$.alwayson_scripts.ControlNet.args"


def webuiapi_unit(**changes: Any) -> dict[str, Any]:
    """A unit with exactly the fields that webuiapi 0.9.17 sends, and its defaults."""
    return {
        "image": encoded(scene()),
        "mask": None,
        "module": "canny",
        "model": "ctrlgen-tiny-edges",
        "weight": 1.0,
        "resize_mode": "Resize and Fill",
        "low_vram": False,
        "processor_res": 512,
        "threshold_a": 64,
        "threshold_b": 64,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "control_mode": "Balanced",
        "pixel_perfect": False,
        "hr_option": "Both",
        "enabled": True,
    } | changes


def generate(webui: WebUI, args: Any, tab: str = "txt2img", **fields: Any) -> Answer:
    return webui.generate(tab=tab, **fields, alwayson_scripts={"ControlNet": {"args": args}})


def recorded(answer: Answer) -> list[Any]:
    parameters = json.loads(answer.json["info"])["extra_generation_params"]
    return list(json.loads(parameters["CtrlGen"])["units"]) if "CtrlGen" in parameters else []


def size(text: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(text))).size


@pytest.mark.parametrize(
    "args", [[], [None, None], [None] * 10, [{}], [{"enabled": False, "model": "x"}]], ids=str
)
def test_units_that_are_off_change_no_byte(webui: WebUI, plain: Answer, args: Any) -> None:
    answer = generate(webui, args)
    assert (answer.status, answer.json["images"]) == (200, plain.json["images"])
    assert answer.json["info"] == plain.json["info"] or recorded(answer) == []


def test_two_units_of_webuiapi_and_their_maps(webui: WebUI, plain: Answer) -> None:
    second = webuiapi_unit(module="none", model="ctrlgen-tiny-depth", weight=0.5, control_mode=2)
    answer = generate(webui, [webuiapi_unit(), second])
    assert answer.status == 200
    assert len(answer.images) == 3, "the picture, and a control map of each unit"
    assert not answer.same(plain)
    units = recorded(answer)
    assert [each["model"].split(" ")[0] for each in units] == ["ctrlgen-tiny-edges", "ctrlgen-tiny-depth"]
    assert units[0]["params"] == {"low_threshold": 64, "high_threshold": 64}
    assert (units[1]["weight"], units[1]["control_mode"]) == (0.5, "control")
    assert len(generate(webui, [webuiapi_unit(save_detected_map=False)]).images) == 1


def test_old_spellings_mean_the_same(webui: WebUI) -> None:
    old = {
        "input_image": "data:image/png;base64," + encoded(scene()),
        "module": "canny",
        "model": "CTRLGEN-tiny-edges",
        "resize_mode": ("Envelope (Outer Fit)",),
        "lowvram": False,
        "processor_res": 512,
        "threshold_a": 64,
        "threshold_b": 64,
        "guidance": 1.0,
        "guidance_end": 1.0,
        "control_mode": 0,
        "guess_mode": False,
    }
    one, other = generate(webui, [webuiapi_unit()]), generate(webui, [old])
    assert other.status == 200
    assert one.same(other)
    warnings = json.loads(other.json["info"])["extra_generation_params"]["CtrlGen warnings"]
    assert f"{ARGS}[0].guess_mode: is obsolete" in warnings


def test_labels_of_the_model_list_are_names(webui: WebUI) -> None:
    models = webui.get("/controlnet/model_list").json()["model_list"]
    label = next(each for each in models if each.startswith("ctrlgen-tiny-edges ["))
    assert generate(webui, [webuiapi_unit(model=label)]).same(generate(webui, [webuiapi_unit()]))
    wrong = generate(webui, [webuiapi_unit(model="ctrlgen-tiny-edges [deadbeef]")])
    assert wrong.detail["path"] == f"{ARGS}[0].model"
    assert "the hash" in wrong.detail["message"]


def test_units_join_those_of_ctrlgens_own_script(webui: WebUI) -> None:
    scripts = {"CtrlGen": {"args": [{"units": [EDGES]}]}, "ControlNet": {"args": [webuiapi_unit()]}}
    answer = webui.generate(alwayson_scripts=scripts)
    assert answer.status == 200
    assert [("semantics" in unit) for unit in recorded(answer)] == [False, True]


def test_the_init_picture_serves_a_unit_without_one(webui: WebUI) -> None:
    fields = {"init_images": [encoded(scene())], "denoising_strength": 0.7}
    unit = webuiapi_unit(image="", resize_mode="Just Resize")
    own, init = (generate(webui, [each], "img2img", **fields) for each in (webuiapi_unit(), unit))
    assert (own.status, init.status) == (200, 200)
    assert own.same(init)


@pytest.mark.parametrize(
    ("unit", "place"),
    [
        ({"model": "no such model"}, ".model"),
        ({"model": "None"}, ".model"),
        ({"image": ""}, ".image"),
        ({"image": "/etc/passwd"}, ".image"),
        ({"module": "no such module"}, ".module"),
        ({"weight": 3}, ".weight"),
        ({"ipadapter_input": "UEsDBBQAAAA="}, ".ipadapter_input"),
    ],
    ids=str,
)
def test_no_picture_without_the_control(webui: WebUI, unit: Any, place: str) -> None:
    answer = generate(webui, [{}, webuiapi_unit(**unit)])
    assert (answer.status, answer.detail["path"]) == (422, f"{ARGS}[1]{place}")


def test_more_units_than_the_setting_says(webui: WebUI) -> None:
    assert webui.get("/controlnet/settings").json() == {"control_net_unit_count": 3}
    answer = generate(webui, [webuiapi_unit(weight=0.2)] * 5)
    assert (answer.status, len(recorded(answer))) == (200, 5)
    assert generate(webui, [{}] * 11).detail["path"] == f"{ARGS}[10]"


@pytest.mark.parametrize("field", ["controlnet_input_images", "controlnet_images"])
def test_detect_with_both_names_of_its_pictures(webui: WebUI, field: str) -> None:
    body = {"controlnet_module": "canny", field: [encoded(scene())] * 2, "controlnet_processor_res": 128}
    found = webui.post("/controlnet/detect", body).json()
    assert (found["info"], [size(each) for each in found["images"]]) == ("Success", [(128, 128)] * 2)
    assert webui.post("/controlnet/detect", {}).json()["detail"] == "No image selected"


def test_the_other_routes(webui: WebUI) -> None:
    assert webui.get("/controlnet/version").json() == {"version": 3}
    modules = webui.get("/controlnet/module_list?alias_names=true").json()
    assert modules["module_detail"]["depth_midas"]["sliders"][0]["name"] == "Resolution"
    types = webui.get("/controlnet/control_types").json()["control_types"]
    assert types["Canny"]["default_option"] == "canny"
    people = {
        "people": [{"pose_keypoints_2d": [0.5, 0.4, 1.0] * 18}],
        "canvas_width": 64,
        "canvas_height": 96,
    }
    animals = {"people": [], "animals": [[9.0, 9.0, 1.0] * 17], "canvas_width": 32, "canvas_height": 32}
    drawn = webui.post("/controlnet/render_openpose_json", [people, animals]).json()
    assert (drawn["info"], [size(each) for each in drawn["images"]]) == ("Success", [(64, 96), (32, 32)])


def test_the_scripts_are_listed(webui: WebUI) -> None:
    """webuiapi asks for "controlnet m2m": it is not there, and units work without it."""
    found = webui.get("/sdapi/v1/scripts").json()["txt2img"]
    assert "controlnet" in found
    assert "controlnet m2m" not in found
    assert generate(webui, [webuiapi_unit()], script_name=None).status == 200
    assert webui.generate(**PLAIN).status == 200
