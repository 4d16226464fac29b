"""What the conversion of units for ControlNet learns of the generation, and the note on the page."""

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.compat.places import at_unit
from lib_ctrlgen.errors import RequestError
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, Processing, fresh


def generation(host: FakeWebUI, **options: Any) -> Any:
    return fresh("controlnet.units").generation_of(Processing(host, **options))


def test_a_txt2img_generation(host: FakeWebUI) -> None:
    found = generation(host, width=71, height=64, enable_hr=True, seed=7, subseed=3)
    assert (found.width, found.height, found.hires, found.img2img) == (64, 64, True, False)
    assert (found.map_seed, found.family, found.own_semantics) == (10, "sd15", False)
    host.opts.data |= {"control_net_inpaint_blur_sigma": 5, "controlnet_ignore_noninpaint_mask": True}
    host.opts.data["ctrlgen_controlnet_semantics"] = True
    found = generation(host, seed=-1, subseed=-1, all_seeds=[2**32 - 1])
    assert found.map_seed == 2**32 - 2, "the first picture's seed stands for each drawn one"
    assert (found.inpaint_blur, found.ignore_mask, found.own_semantics) == (5, True, True)


def test_an_img2img_generation_that_paints_a_masked_part(host: FakeWebUI) -> None:
    init, mask = Image.new("RGB", (80, 48)), Image.new("L", (80, 48))
    given = {"init_images": [init], "image_mask": mask, "inpaint_full_res": True, "resize_mode": 2}
    found = generation(host, enable_hr=True, **given)
    assert (found.img2img, found.inpaint, found.only_masked, found.hires) == (True, True, True, False)
    assert (found.init_size, found.resize_mode) == ((80, 48), 2)
    plain = generation(host, **(given | {"image_mask": None, "resize_mode": 9}))
    assert (plain.inpaint, plain.only_masked, plain.resize_mode) == (False, False, 3)


def test_a_mistake_in_a_converted_unit_has_the_clients_path() -> None:
    with pytest.raises(RequestError) as raised, at_unit(2):
        raise RequestError("params.low_threshold", "is wrong")
    assert raised.value.path == "$.alwayson_scripts.ControlNet.args[2].module"
    assert raised.value.message == "low_threshold: is wrong"


@pytest.mark.parametrize("taken", [False, True])
def test_the_panel_says_who_has_the_name(host: FakeWebUI, taken: bool) -> None:
    other = type("Script", (), {"title": lambda _self: "ControlNet"})
    data = [SimpleNamespace(script_class=other, basedir="extensions/<old>")] if taken else []
    host.loaded["modules.scripts"].scripts_data = data
    fresh("panel.panel").build_panel("txt2img")
    notes = [each.value for each in Component.made if "controlnet_note" in str(each.elem_id)]
    assert len(notes) == taken
    assert not taken or "extensions/&lt;old&gt;" in notes[0]
