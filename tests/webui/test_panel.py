"""The panel on fake components, its values from an infotext, and the REST routes."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms import unit_fields
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.forms.preprocessor_fields import param_fields
from lib_ctrlgen.images.files import encode_image, image_hash
from lib_ctrlgen.request.spec import parse_request
from tests.support.fake_gradio import Component
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.shown_params import made_component, preprocessor_html, shown_params

# How the WebUI 1.10.1 writes and reads a value of its infotext (modules/infotext_utils.py).
PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
PICTURE = Image.new("RGB", (8, 8), "red")
UNITS = [
    {
        "model": "edges",
        "image": encode_image(PICTURE),
        "preprocessor": "canny",
        "params": {"low_threshold": 50},
        "weight": "1@0, 0.6@0.4, 0@1",
        "guidance_end": 0.5,
        "control_mode": "control",
    },
    {"model": 'odd, "name": \\x', "image": encode_image(PICTURE), "weight": 0.5},
]


@pytest.fixture
def panel(host: FakeWebUI) -> Any:
    return fresh("panel.panel").build_panel("txt2img")


def pasted(panel: Any, params: dict[str, Any]) -> dict[str, Any]:
    """The components' values after pasting, by element id."""
    values = {component.elem_id: component.value for component in panel.components}
    for component, function in panel.paste_fields:
        update = function(params)
        if update is not None:
            values[component.elem_id] = update["value"]
    return values


def through_infotext(text: str) -> dict[str, Any]:
    quoted = json.dumps(text, ensure_ascii=False)
    found = dict(PARAM.findall(f"Steps: 20, CtrlGen: {quoted}, Version: 1.10.1"))
    return {"Steps": found["Steps"], "CtrlGen": json.loads(found["CtrlGen"])}


def test_the_arguments_are_the_request_and_three_units(panel: Any) -> None:
    fields = unit_fields.unit_fields()
    first = 1 + unit_fields.UNITS_FROM
    assert len(panel.components) == first + 3 * len(fields)
    unit1 = panel.components[first + len(fields) : first + 2 * len(fields)]
    assert [c.elem_id for c in unit1] == [f"ctrlgen_txt2img_unit1_{name}" for name in fields]
    assert {name: c.value for name, c in zip(fields, unit1, strict=True)} == fields
    assert all(component.do_not_save_to_config for component in panel.components)


def test_every_default_is_among_its_choices(panel: Any) -> None:
    listed = [c for c in panel.components if c.options.get("choices") is not None]
    assert len(listed) == 3 * 7 + 4
    for component in listed:
        values = [c[1] if isinstance(c, tuple) else c for c in component.options["choices"]]
        assert component.value in values


def test_element_ids_are_unique(host: FakeWebUI, panel: Any) -> None:
    ids = [component.elem_id for component in Component.made if component.elem_id]
    assert len(ids) == len(set(ids))


def test_the_panel_can_be_built_again_with_another_number_of_units(host: FakeWebUI, panel: Any) -> None:
    host.opts.data["ctrlgen_units"] = 1
    again = sys.modules["lib_ctrlgen.webui.panel.panel"].build_panel("img2img")
    assert len(again.components) < len(panel.components)
    first = 1 + unit_fields.UNITS_FROM
    assert again.components[first].elem_id == "ctrlgen_img2img_unit0_enabled"


def test_the_img2img_picture_is_offered_in_img2img_only(host: FakeWebUI, panel: Any) -> None:
    fresh("panel.panel").build_panel("img2img")
    shown = {c.elem_id: c.options.get("visible") for c in Component.made if c.elem_id}
    assert shown["ctrlgen_txt2img_unit0_use_init_image"] is False
    assert shown["ctrlgen_img2img_unit0_use_init_image"] is True


def test_an_infotext_restores_the_panel(panel: Any) -> None:
    written = describe(parse_request({"units": UNITS}))
    assert f"sha:{image_hash(PICTURE)}" in written
    values = pasted(panel, through_infotext(written))
    unit0 = {k.removeprefix("ctrlgen_txt2img_unit0_"): v for k, v in values.items() if "unit0" in k}
    assert unit0 | {"image": None} == unit0  # pictures stay as they were
    assert unit0["enabled"] is True
    assert unit0["weight_schedule"] == "1@0, 0.6@0.4, 0@1"
    assert (unit0["preprocessor"], unit0["param_values"]) == ("canny", '{"canny_low_threshold": 50}')
    assert values["ctrlgen_txt2img_unit1_param_values"] == ""
    assert (unit0["guidance_end"], unit0["control_mode"]) == (0.5, "control")
    assert values["ctrlgen_txt2img_unit1_model"] == 'odd, "name": \\x'
    assert values["ctrlgen_txt2img_unit1_weight"] == 0.5
    assert values["ctrlgen_txt2img_unit2_enabled"] is False


@pytest.mark.parametrize("broken", [{}, {"CtrlGen": "{"}, {"CtrlGen": "[]"}, {"CtrlGen": '{"units":[1]}'}])
def test_an_infotext_without_units_switches_them_off_and_no_more(panel: Any, broken: dict[str, Any]) -> None:
    changed = {
        component.elem_id: update
        for component, function in panel.paste_fields
        if (update := function(broken)) is not None
    }
    assert {name.rpartition("_")[2] for name in changed} == {"enabled", "scale", "weights", "mode"}
    assert all(update["value"] in (False, "", "off") for update in changed.values())


def test_a_blend_comes_back_from_its_infotext_without_its_pictures(panel: Any) -> None:
    words = [{"prompt": "{prompt}, red", "weight": "1>0", "mask": encode_image(PICTURE)}, {"weight": -0.5}]
    written = describe(parse_request({"blend": {"normalise": False, "concepts": words}}))
    assert f"sha:{image_hash(PICTURE)}" in written
    values = pasted(panel, through_infotext(written))
    assert values["ctrlgen_txt2img_blend_mode"] == "prediction"
    assert values["ctrlgen_txt2img_concept0_prompt"] == "{prompt}, red"
    assert values["ctrlgen_txt2img_concept0_weight"] == "1@0, 0@1"
    assert values["ctrlgen_txt2img_concept1_weight"] == "-0.5"
    assert [values[f"ctrlgen_txt2img_concept{k}_used"] for k in range(3)] == [True, True, False]
    assert values["ctrlgen_txt2img_concept0_mask"] is None


def test_disabled_units_are_not_in_the_infotext(panel: Any) -> None:
    units = [UNITS[0] | {"enabled": False}, UNITS[1]]
    assert len(json.loads(describe(parse_request({"units": units})))["units"]) == 1


def event_of(elem_id: str) -> Any:
    return made_component(elem_id).events[0]


def event(elem_id: str) -> Any:
    return event_of(elem_id)[0]


def id_of(made: Any) -> str:
    return str(made.elem_id).rpartition("unit0_")[2]


def arguments(panel: Any, **fields: Any) -> list[Any]:
    names = [c.elem_id.rpartition("unit0_")[2] for c in panel.components]
    return [fields.get(name, c.value) for name, c in zip(names, panel.components, strict=True)]


def test_the_plan_is_shown_or_what_is_wrong(panel: Any) -> None:
    texts = "a (fog:1>0) room", ""
    preview = event("ctrlgen_txt2img_show_plan")
    assert "No unit" in preview(20, "", "", *arguments(panel)[1:])
    assert "(fog:)" in preview(20, *texts, *arguments(panel)[1:])
    shown = preview(8, *texts, *arguments(panel, enabled=True, model="<b>edges")[1:])
    assert "<svg" in shown
    assert "&lt;b&gt;edges" in shown
    assert "<b>" not in shown
    wrong = preview(8, *texts, *arguments(panel, enabled=True, model="edges", weight_schedule="1@x")[1:])
    assert "Unit 0, Weight schedule: " in wrong
    assert "data-marks" in wrong


def test_an_error_that_a_script_got_is_shown_at_its_field(panel: Any) -> None:
    explained = event("ctrlgen_txt2img_explain")
    shown = explained("RequestError: $.units[1].weight: expected a number\nTime taken: 1 sec.")
    assert "Unit 1, Weight: expected a number.<" in shown
    assert "unit1_weight" in shown
    assert explained("CtrlGen: Unit 0, Weight: expected a number") == ""


def test_the_control_map_is_shown_or_what_is_wrong(panel: Any) -> None:
    first = 1 + unit_fields.UNITS_FROM
    preview = event("ctrlgen_txt2img_unit0_show_map")
    fields = arguments(panel, image=PICTURE, preprocessor="invert")[first:]
    unit = fields[: len(fields) // 3]
    picture, error = preview(64, 32, *unit)
    assert (picture.size, error) == ((64, 32), "")
    assert picture.getpixel((5, 5)) == (0, 255, 255)
    picture, error = preview(64, 32, *arguments(panel)[first : first + len(unit)])
    assert picture is None
    assert "picture" in error


def test_the_preview_waits_for_a_generation_and_uses_its_map(panel: Any, host: FakeWebUI) -> None:
    first = 1 + unit_fields.UNITS_FROM
    fields = arguments(panel, image=PICTURE, preprocessor="canny")[first:]
    done: list[Any] = []
    preview = event("ctrlgen_txt2img_unit0_show_map")
    thread = Thread(target=lambda: done.append(preview(64, 32, *fields[: len(fields) // 3])))
    with host.loaded["modules.call_queue"].queue_lock:
        thread.start()
        thread.join(0.1)
        assert not done
    thread.join(20)
    again, error = preview(64, 32, *fields[: len(fields) // 3])
    assert (again, error) == done[0]
    assert again is done[0][0], "the map that was made before"


def test_uploaded_pictures_are_previewed_by_the_first_of_them(panel: Any, tmp_path: Path) -> None:
    first = 1 + unit_fields.UNITS_FROM
    preview = event("ctrlgen_txt2img_unit0_show_map")
    for name, colour in (("b", "blue"), ("a", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    uploads = [SimpleNamespace(name=str(tmp_path / f"{name}.png")) for name in ("b", "a")]
    fields = arguments(panel, images=uploads, preprocessor="invert")[first:]
    picture, error = preview(64, 32, *fields[: len(fields) // 3])
    assert (picture.getpixel((5, 5)), error) == ((0, 255, 255), "")


def test_the_resolution_is_offered_by_preprocessors_that_detect(panel: Any) -> None:
    reveal, options = event_of("ctrlgen_txt2img_unit0_preprocessor")
    names = [id_of(each) for each in options["outputs"]]
    shown = {name: dict(zip(names, reveal(name, ""), strict=True)) for name in ("canny", "none")}
    assert shown["canny"]["resolution"]["visible"] is True
    assert shown["none"]["resolution"]["visible"] is False


def test_the_parameters_of_the_chosen_preprocessors_are_shown(panel: Any) -> None:
    for text in ("none", *dict.fromkeys(owner for owner, _ in param_fields().values())):
        own = [name for name, (owner, _) in param_fields().items() if owner == text]
        assert [each.name for each in shown_params(preprocessor_html(text))] == own
    both = shown_params(preprocessor_html("canny | threshold", '{"canny_low_threshold": 50}'))
    owned = {"canny_low_threshold": "50", "canny_high_threshold": "200", "threshold_threshold": "127"}
    assert [each.name for each in both] == list(owned)
    assert [{given["value"] for given in each.inputs} for each in both] == [{each} for each in owned.values()]
    assert preprocessor_html('["canny"]') == "", "a list has its own parameters"


def test_the_parameters_of_each_unit_have_ids_of_their_own(panel: Any) -> None:
    starts = [f"ctrlgen_txt2img_unit{unit}_" for unit in range(3)]
    found = [shown_params(preprocessor_html("canny", start=start)) for start in starts]
    ids = [each.id for fields in found for each in fields]
    assert ids == [f"{start}canny_{end}_threshold" for start in starts for end in ("low", "high")]


def test_what_a_units_pictures_are_comes_back_but_for_the_pictures(panel: Any) -> None:
    text = encode_image(PICTURE)
    unit = {
        "model": "edges", "images": [text, text], "masks": [text, text], "mask_feather": 12.5,
        "inpaint_crop": False, "preprocessor": "canny", "params": {"resolution": 512},
    }  # fmt: skip
    written = describe(parse_request({"units": [unit]}))
    assert text not in written
    assert written.count(f"sha:{image_hash(PICTURE)}") == 4
    values = {k.rpartition("unit0_")[2]: v for k, v in pasted(panel, through_infotext(written)).items()}
    found = {name: values[name] for name in ("mask_feather", "inpaint_crop", "resolution", "images", "masks")}
    assert found == {
        "mask_feather": 12.5, "inpaint_crop": False, "resolution": 512, "images": None, "masks": None
    }  # fmt: skip


class App:
    """FastAPI, as far as the routes need it."""

    def __init__(self) -> None:
        self.router = SimpleNamespace(routes=[])
        self.openapi = dict


def test_routes_are_added_with_the_api_and_guarded_with_its_login(host: FakeWebUI) -> None:
    started, api = fresh("started"), import_module("lib_ctrlgen.webui.api")
    paths = {f"/ctrlgen/v1/{route.path}" for route in api.all_routes()}
    report = {f"/ctrlgen/v1/{path}" for _, path in api.REPORT_ROUTES}
    login = {"api_auth": "me:secret"}
    for flags, added, guards in [({"api": False}, report, 1), ({}, paths, 0), (login, paths, 1)]:
        vars(host.flags).update({"api": True, "api_auth": None, **flags})
        app = App()
        started.add_routes(None, app)
        routes = dict(route for late in app.router.routes for route in late.routes)
        assert set(routes) == added
        assert all(len(options.dependencies) == guards for options in routes.values())
    api.require_login(SimpleNamespace(username="me", password="secret"))
    with pytest.raises(HTTPException):
        api.require_login(SimpleNamespace(username="me", password="wrong"))


def test_the_routes_answer_json(host: FakeWebUI) -> None:
    api = fresh("api")
    json.dumps([api.models(), api.preprocessors(), api.schema()])
    plan = api.plan({"units": [{"model": "a", "weight": "1>0"}], "steps": 4})
    assert plan["weights"] == ((1.0, 0.75, 0.5, 0.25),)
    for wrong in ({"steps": 0}, {"steps": True}, {"units": [{"model": 1}]}):
        with pytest.raises(RequestError):
            api.plan(wrong)
