"""The Python API of sd-webui-controlnet that other extensions import, and the modules that have it."""

import sys
from collections.abc import Iterator
from copy import copy, deepcopy
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import preload
from lib_ctrlgen.images.files import encode_image
from tests.support import control_files as files
from tests.support.fake_libraries import module
from tests.support.fake_webui import FakeWebUI
from tests.support.properties import examples

OLD = "extensions.sd-webui-controlnet"


@pytest.fixture
def active() -> list[Any]:
    """The extensions that are switched on."""
    return []


@pytest.fixture
def webui(host: FakeWebUI, active: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWebUI]:
    """A WebUI with CtrlGen's finder; the modules that it finds are gone afterwards."""
    extensions = module("modules.extensions", {"active": lambda: active})
    monkeypatch.setitem(sys.modules, "modules.extensions", extensions)
    vars(host.loaded["modules"])["extensions"] = extensions
    folder = Path(host.loaded["modules.paths_internal"].models_path) / "ControlNet"
    folder.mkdir(parents=True)
    for name in ("control_v11p_sd15_Canny.safetensors", "depth.safetensors"):
        (folder / name).write_bytes(name.encode() * 100)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    preload.add_old_modules()
    finder = sys.meta_path[-1]
    assert isinstance(finder, preload.OldModules)
    yield host
    for name in finder.modules | finder.packages:
        sys.modules.pop(name, None)


@pytest.fixture
def code(webui: FakeWebUI) -> Any:
    return import_module(f"{OLD}.scripts.external_code")


def test_every_module_is_found_where_nothing_else_has_it(webui: FakeWebUI) -> None:
    for name in ("lib_controlnet", f"{OLD}.scripts", "extensions-builtin.sd-webui-controlnet.scripts"):
        assert import_module(f"{name}.external_code").get_api_version() == 3
    from internal_controlnet.args import ControlNetUnit  # type: ignore[import-not-found]
    from lib_controlnet import external_code, global_state  # type: ignore[import-not-found]

    assert external_code.ControlNetUnit is ControlNetUnit
    assert global_state.get_filtered_preprocessors("Inpaint")["inpaint_only"].name == "inpaint_only"
    for name, value in (("cldm", "ControlNet"), ("hook", "ControlModelType"), ("batch_hijack", "InputMode")):
        assert isinstance(getattr(import_module(f"{OLD}.scripts.{name}"), value), type)
    namespace: dict[str, Any] = {}
    exec("from internal_controlnet.external_code import *", namespace)
    assert {"ControlNetUnit", "find_cn_script", "get_models"} <= set(namespace)
    preload.add_old_modules()
    assert sum(isinstance(finder, preload.OldModules) for finder in sys.meta_path) == 1


@pytest.mark.parametrize("who", ["forge", "old", "setting", "early"])
def test_none_is_found_where_another_extension_has_the_name(
    webui: FakeWebUI, active: list[Any], monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    if who == "forge":
        forge = module("modules_forge", {"__spec__": SimpleNamespace()})
        monkeypatch.setitem(sys.modules, "modules_forge", forge)
    elif who == "old":
        active.append(SimpleNamespace(name="sd-webui-controlnet-main", path="/x"))
    elif who == "setting":
        webui.opts.data["ctrlgen_controlnet_api"] = "never"
    else:
        monkeypatch.delitem(sys.modules, "modules.extensions")
    for name in ("lib_controlnet", f"{OLD}.scripts.external_code", "annotator.util"):
        with pytest.raises(ImportError):
            import_module(name)
    if who == "old":
        webui.opts.data["ctrlgen_controlnet_api"] = "always"
        assert import_module("annotator.util").HWC3


def test_a_module_of_another_extension_comes_first(webui: FakeWebUI, tmp_path: Path) -> None:
    (tmp_path / "annotator").mkdir()
    (tmp_path / "annotator" / "util.py").write_text("HWC3 = 'theirs'")
    sys.path.append(str(tmp_path))
    try:
        assert import_module("annotator.util").HWC3 == "theirs"
    finally:
        sys.path.remove(str(tmp_path))


def test_lists(code: Any) -> None:
    state = import_module(f"{OLD}.scripts.global_state")
    models = code.get_models()
    assert [label.split(" [")[0] for label in models] == ["control_v11p_sd15_Canny", "depth"]
    assert state.get_all_controlnet_names() == ["None", *models] == list(state.cn_models)
    assert state.cn_models_names["control_v11p_sd15_canny"] == models[0]
    assert Path(state.cn_models[models[1]]).name == "depth.safetensors"
    kept = state.cn_models
    (Path(state.cn_models_dir) / "new.safetensors").write_bytes(b"new")
    assert code.get_models() == models
    assert len(code.get_models(update=True)) == len(kept) - 1 == 3
    assert code.get_modules()[0] == "none"
    labels, detail = code.get_modules(alias_names=True), code.get_modules_detail(alias_names=True)
    assert list(detail) == labels
    assert code.get_modules_detail()["canny"]["sliders"][1] == {
        "name": "Low Threshold",
        "value": 100,
        "min": 1,
        "max": 255,
        "step": 1,
    }
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = state.absent


def test_a_unit_has_the_old_fields_and_defaults(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    unit = code.ControlNetUnit()
    assert len(unit.dict()) == 33
    assert (unit.enabled, unit.module, unit.model, unit.processor_res) == (False, "none", "None", -1)
    assert unit.resize_mode is code.ResizeMode.INNER_FIT
    assert unit.batch_modifiers is not code.ControlNetUnit().batch_modifiers
    given = code.ControlNetUnit(
        module=None, resize_mode="Envelope (Outer Fit)", control_mode=2, lowvram=True, guidance=0.5, guess=1
    )
    assert (given.module, given.low_vram, given.guidance_end) == ("none", True, 0.5)
    assert (given.resize_mode, given.control_mode) == (code.ResizeMode.OUTER_FIT, code.ControlMode.CONTROL)
    assert "has no field 'guess'" in caplog.text
    assert code.ControlNetUnit(guidance=0.5, guidance_end=0.75).guidance_end == 0.75
    with pytest.raises(ValueError, match="unknown"):
        code.ControlNetUnit(control_mode="unknown")


def test_a_unit_is_copied_and_changed(code: Any) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    unit = code.ControlNetUnit(image=image)
    shallow, deep, changed = copy(unit), deepcopy(unit), unit.copy(update={"weight": 0.5})
    shallow.enabled = True
    assert shallow.image is image
    assert deep.image is not image
    assert (unit.enabled, unit.weight, changed.weight) == (False, 1.0, 0.5)
    assert code.ControlNetUnit(weight=0.5) == code.ControlNetUnit(weight=0.5)


def test_the_numbers_of_resize_modes(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    names = [code.resize_mode_from_value(value).name for value in (0, 1, 2, 3, 7)]
    assert names == ["RESIZE", "INNER_FIT", "OUTER_FIT", "RESIZE", "RESIZE"]
    assert "resize mode 7 is unknown" in caplog.text
    with pytest.raises(ValueError, match="0 to 3"):
        code.resize_mode_from_value(-1)


def test_pictures(code: Any) -> None:
    util = import_module("annotator.util")
    pixels = np.asarray(files.picture(60, 40))
    assert np.array_equal(code.to_base64_nparray(encode_image(files.picture(60, 40))), pixels)
    modes = code.ResizeMode
    found = [code.pixel_perfect_resolution(pixels, 80, 80, mode) for mode in modes]
    assert found == [80, 80, 53]  # 40 * max(80/40, 80/60), and 40 * min(...)
    assert np.array_equal(util.HWC3(pixels[..., 0]), np.repeat(pixels[..., :1], 3, 2))
    clear = np.dstack([pixels, np.zeros((40, 60), np.uint8)])
    assert util.HWC3(clear).min() == 255
    assert util.resize_image(pixels, 128).shape == (128, 192, 3)


class Script:
    """A script with a place among the arguments."""

    def __init__(self, title: str, place: int, size: int) -> None:
        self.name, self.args_from, self.args_to = title, place, place + size

    def title(self) -> str:
        return self.name

    @property
    def place(self) -> tuple[int, int]:
        return self.args_from, self.args_to


def runner_of(sizes: list[int], number: int) -> SimpleNamespace:
    """Scripts with that many arguments, one titled ControlNet; the last one is of the dropdown."""
    scripts, place = [], 1
    for index, size in enumerate(sizes):
        scripts.append(Script("controlNET" if index == number else f"s{index}", place, size))
        place += size
    return SimpleNamespace(
        scripts=scripts, alwayson_scripts=scripts[:-1], selectable_scripts=scripts[-1:], callback_map={"x": 1}
    )


def places_of(runner: SimpleNamespace) -> list[tuple[int, int]]:
    """The places of all scripts."""
    return [script.place for script in runner.scripts]


RUNNERS = st.integers(0, 3).flatmap(
    lambda number: st.tuples(st.lists(st.integers(0, 5), min_size=5, max_size=5), st.just(number))
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNNERS, st.integers(0, 8), st.integers(1, 5), st.booleans())
def test_every_script_finds_its_own_arguments_after_an_update(
    host: FakeWebUI, shape: tuple[list[int], int], count: int, least: int, in_processing: bool
) -> None:
    host.opts.data["control_net_unit_count"] = least
    arguments = import_module("lib_ctrlgen.webui.external_code.arguments")
    (sizes, number), units = shape, [arguments.ControlNetUnit(weight=0.1 * k) for k in range(count)]
    former, runner = runner_of(sizes, number), runner_of(sizes, number)
    values: list[Any] = [0, *(script.title() for script in runner.scripts for _ in range(*script.place))]
    passed = list(values)
    if in_processing:
        p = SimpleNamespace(scripts=runner, script_args=passed, script_args_value=passed)
        arguments.update_cn_script_in_processing(p, units, is_img2img=False, is_ui=False)
        assert places_of(runner) == places_of(former), "the WebUI's own scripts stay where they are"
        found, runner = p.script_args, p.scripts
    else:
        found = arguments.update_cn_script(runner, tuple(passed), units)
        assert isinstance(found, tuple)
    assert passed == values, "the arguments that were passed are not changed"
    for script, size in zip(runner.scripts, sizes, strict=True):
        own = found[script.args_from : script.args_to]
        if arguments.is_cn_script(script):
            assert len(own) == max(count, least, size)
            assert list(own[:count]) == units
            assert not any(unit.enabled for unit in own[count:])
        else:
            assert list(own) == [script.title()] * size
    assert {id(each) for each in runner.alwayson_scripts} < {id(each) for each in runner.scripts}


def test_arguments_that_cannot_be_updated(code: Any) -> None:
    runner, units = runner_of([1, 1, 1], 1), [code.ControlNetUnit()]
    assert code.update_cn_script(runner, [0], units) == [0], "they end before the script's place"
    assert code.update_cn_script(None, [0, 1], units) == [0, 1]
    with pytest.raises(TypeError, match="only a list"):
        code.update_cn_script_in_place(runner, (0, 1, 2), units)
    values = [0, "a", "b", "c"]
    code.update_cn_script_in_place(runner, values, units)
    assert (values[1], values[-1], runner.scripts[2].place) == ("a", "c", (5, 6))


def test_units_of_a_generation(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    unit = code.ControlNetUnit(enabled=True, weight=0.5)
    foreign = SimpleNamespace(**{**vars(unit), "weight": 0.25})
    runner = runner_of([1, 4, 1], 1)
    p = SimpleNamespace(scripts=runner, script_args=[0, "a", unit, None, {"model": "m"}, foreign, "c"])
    found = code.get_all_units_in_processing(p)
    assert [(each.enabled, each.weight) for each in found] == [(True, 0.5), (True, 1.0), (True, 0.25)]
    assert found[0] is unit
    assert code.get_single_unit_from(p.script_args[2:6], 0) is unit
    assert code.get_single_unit_from(p.script_args[2:6], 1) is None
    assert code.get_single_unit_from(p.script_args[2:6], 9) is None
    assert code.get_all_units(SimpleNamespace(alwayson_scripts=[]), []) == []
    assert (code.get_all_units_from([None, "x"]), "types str" in caplog.text) == ([], True)
    with pytest.raises(TypeError, match="a str is no ControlNet unit"):
        code.to_processing_unit("x")
    assert not code.to_processing_unit({"enabled": False, "module": "canny"}).enabled
    assert code.get_max_models_num() == 3
