"""What users of sd-webui-controlnet bring along: saved plots, infotexts, settings, in the real WebUI."""

from typing import Any

import numpy as np
import pytest

from tests.live.conftest import EDGES, PLAIN, WebUI, close, decoded, encoded, scene

pytestmark = pytest.mark.live
OLD_UNIT = {"enabled": True, "module": "canny", "model": EDGES["model"], "image": encoded(scene())}
OLD = 'ControlNet 0: "Module: canny, Model: ctrlgen-tiny-edges, Weight: 0.5, Guidance End: 0.5, New Field: 1"'
INFOTEXT = f"a red circle\nSteps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64, {OLD}"


def axes(webui: WebUI) -> list[str]:
    found = webui.get("/sdapi/v1/script-info").json()
    plot = next(each for each in found if each["name"] == "x/y/z plot" and not each["is_img2img"])
    return [str(each) for each in plot["args"][0]["choices"]]


def plotted(webui: WebUI, label: str, values: str, scripts: dict[str, Any]) -> list[Any]:
    """The pictures of a plot with one axis, without the grid."""
    x = [axes(webui).index(label), values, []]
    nothing = [0, "", []]
    args = [*x, *nothing, *nothing, False, True, False, False, False, False, False, 0, True]
    body = PLAIN | {"script_name": "X/Y/Z plot", "script_args": args, "alwayson_scripts": scripts}
    answer = webui.post("/sdapi/v1/txt2img", body)
    assert answer.status_code == 200, answer.text
    return [np.asarray(decoded(text)) for text in answer.json()["images"]]


def old(**fields: Any) -> dict[str, Any]:
    return {"ControlNet": {"args": [OLD_UNIT | fields]}}


def test_the_plot_has_all_axes_once(webui: WebUI) -> None:
    found = axes(webui)
    assert len(found) == len(set(found))
    assert {"[ControlNet] Pre Threshold B", "[CtrlGen] Field", "[CtrlGen] Weight"} <= set(found)


def test_a_saved_plot_changes_units_for_controlnet(webui: WebUI) -> None:
    pictures = plotted(webui, "[ControlNet] Weight", "[0,,1], [1]", old())[-2:]
    for weight, made in zip((0, 1), pictures, strict=True):
        alone = webui.generate(alwayson_scripts=old(weight=weight))
        assert close(made, alone.images[0])
    assert not close(*pictures)


def test_the_same_axis_changes_ctrlgens_own_units_where_there_are_no_others(webui: WebUI) -> None:
    own = {"CtrlGen": {"args": [{"units": [EDGES]}]}}
    pictures = plotted(webui, "[ControlNet] Guidance End", "0.25, 1", own)[-2:]
    for end, made in zip((0.25, 1), pictures, strict=True):
        assert close(made, webui.generate(EDGES | {"guidance_end": end}).images[0])
    scheduled = plotted(webui, "[CtrlGen] Weight", '"1@0 hold, 0@0.5", 1', own)[-2:]
    assert close(scheduled[0], webui.generate(EDGES | {"weight": "1@0 hold, 0@0.5"}).images[0])
    one, other = plotted(webui, "[CtrlGen] Field", "units.0.weight=0.5, units.0.weight=1", own)[-2:]
    assert close(one, webui.generate(EDGES | {"weight": 0.5}).images[0])
    assert not close(one, other)


def test_a_value_for_a_missing_unit_stops_the_plot(webui: WebUI) -> None:
    x = [axes(webui).index("[CtrlGen] Weight"), "[,,1]", []]
    args = [*x, 0, "", [], 0, "", [], False, True, False, False, False, False, False, 0, True]
    body = PLAIN | {"script_name": "X/Y/Z plot", "script_args": args}
    body["alwayson_scripts"] = {"CtrlGen": {"args": [{"units": [EDGES]}]}}
    # The plot itself catches errors of its cells, and shows black for them.
    pictures = webui.post("/sdapi/v1/txt2img", body).json()["images"]
    assert all(np.asarray(decoded(text)).max() == 0 for text in pictures)


def test_old_settings_can_be_overridden(webui: WebUI) -> None:
    kept = webui.generate(alwayson_scripts=old())
    without = webui.generate(alwayson_scripts=old(), override_settings={"control_net_no_detectmap": True})
    assert (len(kept.images), len(without.images)) == (2, 1)
    assert kept.same(without)


def test_an_infotext_with_old_units_and_no_pictures_is_refused(webui: WebUI) -> None:
    answer = webui.generate(infotext=INFOTEXT)
    assert answer.status == 422
    assert answer.detail["path"] == "$.infotext"
    assert webui.generate(EDGES, infotext=INFOTEXT).status == 200
    assert webui.generate(infotext=INFOTEXT, alwayson_scripts=old()).status == 200


def test_png_info_reads_the_units(webui: WebUI) -> None:
    """The WebUI's own paste goes through the same callback as this route."""
    made = webui.generate(alwayson_scripts=old())
    answer = webui.post("/sdapi/v1/png-info", {"image": made.json["images"][0]}).json()
    assert "CtrlGen" in answer["parameters"]
