"""Settings and infotexts of sd-webui-controlnet: what CtrlGen takes over from them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from tests.support.constant_control import REQUEST, Pushes
from tests.support.fake_webui import FakeWebUI, Processing, fresh

OLD = "Module: canny, Model: edges, Weight: 0.8, Guidance Start: 0.1, Guidance End: 0.6, Low Vram: False"


def test_settings_begin_with_the_values_of_sd_webui_controlnet(host: FakeWebUI) -> None:
    host.opts.data |= {
        "control_net_unit_count": 5,
        "control_net_no_detectmap": True,
        "control_net_detectmap_autosaving": True,
        "control_net_detectedmap_dir": "maps",
    }
    settings = fresh("settings")
    assert (settings.unit_count(), settings.appends_maps(), settings.maps_folder()) == (5, False, "maps")
    settings.register_settings()
    found = {name: option.default for name, option in host.opts.data_labels.items()}
    assert (found["ctrlgen_units"], found["ctrlgen_append_maps"]) == (5, False)
    assert (found["ctrlgen_save_maps"], found["ctrlgen_maps_folder"]) == (True, "maps")
    host.opts.data |= {"ctrlgen_units": 2, "ctrlgen_save_maps": False}
    assert (settings.unit_count(), settings.maps_folder()) == (2, "")


@pytest.mark.parametrize("given", ["many", None, 0, 99])
def test_a_strange_number_of_units_is_no_error(host: FakeWebUI, given: Any) -> None:
    host.opts.data["control_net_unit_count"] = given
    assert 1 <= fresh("settings").unit_count() <= 10


def test_requests_may_override_the_old_settings_by_name(
    host: FakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modules import scripts

    register = fresh("controlnet.old_settings").register_old_settings
    other = type("Other", (), {"title": lambda self: "ControlNet"})
    monkeypatch.setattr(
        scripts, "scripts_data", [SimpleNamespace(script_class=other, basedir="old")], raising=False
    )
    register()
    assert "control_net_no_detectmap" not in host.opts.data_labels
    monkeypatch.setattr(scripts, "scripts_data", [], raising=False)
    host.opts.data["control_net_no_detectmap"] = True
    register()
    assert host.opts.data["control_net_no_detectmap"] is True
    assert host.opts.data_labels["control_net_models_path"].restrict_api


def test_maps_are_saved_if_the_setting_says_so(
    host: FakeWebUI, script: Any, control: Pushes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modules

    saved: list[tuple[Any, ...]] = []
    images = SimpleNamespace(save_image=lambda *args, **_: saved.append(args))
    monkeypatch.setattr(modules, "images", images, raising=False)
    host.process_images(script, Processing(host, outpath_samples=str(tmp_path)), REQUEST)
    assert saved == []
    host.opts.data |= {"ctrlgen_save_maps": True, "ctrlgen_maps_folder": "maps"}
    host.process_images(script, Processing(host, outpath_samples=str(tmp_path)), REQUEST)
    ((picture, folder, name),) = saved
    assert isinstance(picture, Image.Image)
    assert (folder, name) == (str(tmp_path / "maps"), "control-map")


def test_a_pasted_infotext_fills_the_panel(host: FakeWebUI) -> None:
    paste = fresh("panel.old_infotext").add_old_units
    params: dict[str, Any] = {"Steps": "20", "ControlNet 0": OLD}
    paste("", params)
    (unit,) = json.loads(params["CtrlGen"])["units"]
    assert (unit["model"], unit["preprocessor"], unit["weight"]) == ("edges", "canny", 0.8)
    assert (unit["guidance_start"], unit["guidance_end"]) == (0.1, 0.6)
    own: dict[str, Any] = {"CtrlGen": "{}", "ControlNet 0": OLD}
    paste("", own)
    assert own["CtrlGen"] == "{}"
    plain: dict[str, Any] = {"Steps": "20"}
    paste("", plain)
    assert plain == {"Steps": "20"}


def test_an_infotext_over_rest_cannot_bring_units_without_pictures() -> None:
    from lib_ctrlgen.webui.bodies import check_old_infotext

    check_old_infotext({}, ["Steps"])
    with pytest.raises(RequestError, match="holds no picture") as raised:
        check_old_infotext({}, ["Steps", "ControlNet 0"])
    assert raised.value.path == "$.infotext"
    body = {"alwayson_scripts": {"controlnet": {"args": [{"model": "edges"}]}}}
    check_old_infotext(body, ["ControlNet 0"])
