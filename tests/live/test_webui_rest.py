"""The REST API of the real WebUI: control acts, stops exactly, and bad requests make no picture."""

import json
import re
import threading
import time
from typing import Any

import pytest
from PIL import Image

from tests.live.conftest import DEPTH, EDGES, PICTURE, SIZE, Answer, WebUI, encoded, scene

pytestmark = pytest.mark.live

LONG = "cat " * 100
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}


@pytest.mark.parametrize("units", [[EDGES], [DEPTH], [PICTURE], [EDGES, DEPTH, PICTURE]])
def test_control_changes_the_picture_and_leaves_nothing_behind(
    webui: WebUI, plain: Answer, units: list[Any]
) -> None:
    controlled = webui.generate(*units)
    assert controlled.status == 200
    assert not controlled.same(plain)
    assert webui.generate().same(plain)


def test_weight_zero_is_no_control(webui: WebUI, plain: Answer) -> None:
    assert webui.generate(EDGES | {"weight": 0}, PICTURE | {"weight": 0}).same(plain)


def test_a_window_may_be_said_in_two_ways(webui: WebUI) -> None:
    as_schedule = webui.generate(EDGES | {"weight": "1 in 0..0.5"})
    as_fields = webui.generate(EDGES | {"guidance_end": 0.5})
    assert as_schedule.same(as_fields)
    assert not as_schedule.same(webui.generate(EDGES))


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler_name": "Heun"},
        {"sampler_name": "DPM++ 2M"},
        {"sampler_name": "DDIM"},
        {"sampler_name": "Euler a"},
        {"sampler_name": "UniPC"},
        {"prompt": "a cat AND a dog:0.5", "batch_size": 2},
        {"prompt": f"{LONG} AND dog"},
        {"negative_prompt": LONG, "override_settings": {"pad_cond_uncond": True}},
        {"batch_size": 2, "override_settings": {"batch_cond_uncond": False}},
        {"s_min_uncond": 4},
        {"override_settings": {"skip_early_cond": 0.5}},
        {"cfg_scale": 1},
        HIRES,
        HIRES | {"hr_upscaler": "Latent", "hr_second_pass_steps": 2},
    ],
    ids=str,
)
def test_every_way_of_sampling_is_controlled(webui: WebUI, fields: dict[str, Any]) -> None:
    controlled = webui.generate(EDGES, PICTURE, **fields)
    assert controlled.status == 200
    assert not controlled.same(webui.generate(**fields), fields.get("batch_size", 1))


def test_every_picture_of_every_batch_is_controlled(webui: WebUI) -> None:
    fields = {"batch_size": 2, "n_iter": 2}
    controlled, free = webui.generate(EDGES, **fields), webui.generate(**fields)
    assert len(controlled.images) == len(free.images) + 1  # and one control map
    for index in range(4):
        assert (controlled.images[index] != free.images[index]).any()


def test_a_picture_of_a_batch_is_the_picture_alone(webui: WebUI) -> None:
    batch, alone = webui.generate(EDGES, batch_size=2), webui.generate(EDGES, seed=2)
    assert abs(batch.images[1].astype(int) - alone.images[0].astype(int)).max() <= 2


def test_the_control_map_comes_last_and_can_be_left_out(webui: WebUI) -> None:
    answer = webui.generate(EDGES, PICTURE)
    assert len(answer.images) == 2
    assert set(answer.images[1].ravel()) == {0, 255}
    left_out = webui.generate(EDGES, override_settings={"ctrlgen_append_maps": False})
    assert len(left_out.images) == 1


def test_hires_fix_detects_the_map_at_the_high_resolution(webui: WebUI) -> None:
    answer = webui.generate(EDGES, **HIRES)
    assert answer.images[1].shape == answer.images[0].shape == (96, 96, 3)


def test_img2img_and_inpainting(webui: WebUI) -> None:
    fields = {"tab": "img2img", "init_images": [EDGES["image"]], "denoising_strength": 0.6}
    free, controlled = webui.generate(**fields), webui.generate(EDGES, DEPTH, PICTURE, **fields)
    assert controlled.status == 200
    assert not controlled.same(free)
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, 0, SIZE // 2, SIZE))
    painted = webui.generate(EDGES, mask=encoded(mask), inpaint_full_res=False, **fields)
    assert painted.status == 200
    part = webui.generate(EDGES, mask=encoded(mask), inpaint_full_res=True, **fields)
    assert part.status == 200


@pytest.mark.parametrize("swap", ["refiner", "hires"])
def test_a_checkpoint_of_the_same_family_may_take_over(
    webui: WebUI, plain: Answer, same_checkpoint_family: str, swap: str
) -> None:
    fields = {
        "refiner": {"refiner_checkpoint": same_checkpoint_family, "refiner_switch_at": 0.5},
        "hires": HIRES | {"hr_checkpoint_name": same_checkpoint_family},
    }[swap]
    controlled = webui.generate(EDGES | {"guidance_start": 0.5}, **fields)
    assert controlled.status == 200
    assert not controlled.same(webui.generate(**fields))
    assert webui.generate().same(plain)


@pytest.mark.parametrize("swap", ["refiner", "hires"])
def test_a_checkpoint_of_another_family_stops_with_its_reason(
    webui: WebUI, plain: Answer, other_checkpoint_family: str, swap: str
) -> None:
    fields = {
        "refiner": {"refiner_checkpoint": other_checkpoint_family, "refiner_switch_at": 0.5},
        "hires": HIRES | {"hr_checkpoint_name": other_checkpoint_family},
    }[swap]
    answer = webui.generate(EDGES, **fields)
    assert answer.status == 500
    assert "checkpoint" in answer.json["errors"]
    assert webui.generate().same(plain)


def test_a_control_that_does_not_fit_the_checkpoint_says_so(
    webui: WebUI, other_checkpoint_family: str
) -> None:
    answer = webui.generate(EDGES, override_settings={"sd_model_checkpoint": other_checkpoint_family})
    assert answer.status == 422
    assert answer.detail["path"] == "$.units[0].model"
    assert "checkpoint" in answer.detail["message"]


@pytest.mark.parametrize(
    ("unit", "path", "words"),
    [
        ({"weight": "1@0, x"}, "$.units[0].weight", "number"),
        ({"wieght": 1}, "$.units[0].wieght", "weight"),
        ({"model": "ctrlgen-tiny-edgse"}, "$.units[0].model", "ctrlgen-tiny-edges"),
        ({"model": "/etc/passwd"}, "$.units[0].model", "outside"),
        ({"image": "/etc/passwd.png"}, "$.units[0].image", "base64"),
        ({"image": "http://127.0.0.1/a.png"}, "$.units[0].image", "URLs"),
        ({"image": ""}, "$.units[0].image", "picture"),
        ({"image": "aGVsbG8="}, "$.units[0].image", "picture"),
        ({"preprocessor": "cany"}, "$.units[0].preprocessor", "canny"),
        ({"params": {"low": 1}}, "$.units[0].params.low", "low_threshold"),
        ({"params": {"low_threshold": 1000}}, "$.units[0].params.low_threshold", "range"),
        ({"layer_weights": [1, 2]}, "$.units[0].layer_weights", "expected"),
        ({"guidance_start": 2}, "$.units[0].guidance_start", "1"),
        ({"control": "ip_adapter"}, "$.units[0].control", "ControlNet"),
        ({"control_mode": "x"}, "$.units[0].control_mode", "balanced"),
    ],
    ids=str,
)
def test_a_bad_request_is_a_422_with_its_place(
    webui: WebUI, unit: dict[str, Any], path: str, words: str
) -> None:
    answer = webui.generate(EDGES | unit)
    assert answer.status == 422
    assert answer.images == []
    assert answer.detail["path"] == path
    assert words in answer.detail["message"]


@pytest.mark.parametrize(
    "args",
    [["junk"], [5], [EDGES], [[EDGES]], [{"units": "x"}], [{"units": [5]}], [{"units": [EDGES]}] * 2],
    ids=range(7),
)
def test_an_argument_that_is_no_request_is_a_422(webui: WebUI, args: list[Any]) -> None:
    assert webui.generate(args=args).status == 422


@pytest.mark.parametrize(
    "args", [[], [None], [""], [{}], [{"units": [EDGES | {"enabled": False}]}]], ids=range(5)
)
def test_nothing_enabled_is_the_plain_picture(webui: WebUI, plain: Answer, args: list[Any]) -> None:
    answer = webui.generate(args=args)
    assert answer.same(plain)
    assert "CtrlGen" not in webui.infotext(answer)


def test_the_infotext_names_the_units_and_comes_back(webui: WebUI) -> None:
    answer = webui.generate(EDGES | {"weight": "1@0, 0.6@0.4, 0@1"}, DEPTH | {"enabled": False})
    text = webui.infotext(answer)
    info = webui.post("/sdapi/v1/png-info", {"image": answer.json["images"][0]}).json()
    (unit,) = json.loads(info["parameters"]["CtrlGen"])["units"]
    assert unit["model"].startswith(f"{EDGES['model']} [")
    assert unit["weight"] == "1@0, 0.6@0.4, 0@1"
    assert unit["image"].startswith("sha:")
    assert EDGES["image"] not in text
    # The unit would come back switched on, but its picture cannot: no uncontrolled picture then.
    again = webui.generate(infotext=text)
    assert again.status == 422
    assert again.detail["path"] == "$.infotext"
    assert "pictures" in again.detail["message"]


def test_an_interrupt_stops_cleanly(webui: WebUI, plain: Answer) -> None:
    found: list[Answer] = []
    long = {"steps": 60, "width": 128, "height": 128}
    thread = threading.Thread(target=lambda: found.append(webui.generate(EDGES, PICTURE, **long)))
    thread.start()
    while webui.get("/sdapi/v1/progress?skip_current_image=true").json()["state"]["sampling_step"] < 2:
        time.sleep(0.2)
    webui.post("/sdapi/v1/interrupt", {})
    thread.join(600)
    assert found[0].status == 200
    assert webui.generate().same(plain)


def test_the_routes(webui: WebUI) -> None:
    names = {p["name"] for p in webui.get("/ctrlgen/v1/preprocessors").json()["preprocessors"]}
    assert {"none", "canny", "invert"} <= names
    assert "$defs" in webui.get("/ctrlgen/v1/schema").json()
    plan = webui.post("/ctrlgen/v1/plan", {"units": [{"model": "a", "weight": "1>0"}], "steps": 4})
    assert plan.json()["weights"] == [[1.0, 0.75, 0.5, 0.25]]
    wrong = webui.post("/ctrlgen/v1/plan", {"units": [{"model": "a", "weight": "1>"}]})
    assert (wrong.status_code, wrong.json()["detail"]["path"]) == (422, "$.units[0].weight")
    faces = webui.post("/ctrlgen/v1/faces", {"image": PICTURE["image"], "face_choice": "1"})  # of no face
    assert (faces.status_code, faces.json()["detail"]["path"]) in [(422, "$.pack"), (422, "$.image")]


def test_pictures_of_another_shape_are_fitted(webui: WebUI) -> None:
    wide = EDGES | {"image": encoded(scene(96).crop((0, 20, 96, 60)))}
    modes = ("just_resize", "crop_and_resize", "resize_and_fill")
    maps = [webui.generate(wide | {"resize_mode": mode}).images[1] for mode in modes]
    assert all(found.shape == (SIZE, SIZE, 3) for found in maps)
    assert (maps[0] != maps[1]).any()
    assert (maps[1] != maps[2]).any()


@pytest.mark.parametrize(
    ("name", "listed"),
    [("ctrlgen-tiny", "ctrlgen-tiny-depth"), ("ctrlgen-tiny-edges [abcd1234]", "ctrlgen-tiny-edges [")],
)
def test_a_name_that_may_be_several_or_a_wrong_hash_is_refused(webui: WebUI, name: str, listed: str) -> None:
    answer = webui.generate(EDGES | {"model": name})
    assert answer.status == 422
    assert listed in answer.detail["message"]


def test_the_infotext_has_name_and_hash_and_makes_the_picture_again(webui: WebUI) -> None:
    first = webui.generate(EDGES | {"model": "tiny-edges"})
    label = re.search(r"ctrlgen-tiny-edges \[[0-9a-f]{8}\]", webui.infotext(first))
    assert label
    again = webui.generate(EDGES | {"model": label[0]})
    assert again.same(first)
    assert webui.infotext(again) == webui.infotext(first)
