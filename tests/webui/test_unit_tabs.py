"""The callbacks of unit tabs on fake components: copying, pasting, the preview that follows the fields."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.images.files import encode_image, image_hash
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh

PICTURE = Image.new("RGB", (8, 8), "red")


@pytest.fixture
def panel(host: FakeWebUI) -> Any:
    return fresh("panel.panel").build_panel("txt2img")


def event(name: str) -> Any:
    return next(c for c in Component.made if c.elem_id == f"ctrlgen_txt2img_{name}").events[0]


def values(**fields: Any) -> list[Any]:
    return list((unit_fields() | fields).values())


def test_one_event_has_the_fields_of_all_units(panel: Any) -> None:
    function, options = event("units_move")
    assert function is None
    names = [component.elem_id for component in options["outputs"]]
    fields = [*unit_fields(), "map", "map_error", "kind", "strength", "presets"]
    moved = [f"ctrlgen_txt2img_unit{unit}_{name}" for unit in range(3) for name in fields]
    assert names == [*moved, *(f"ctrlgen_txt2img_unit{unit}_kind_undo" for unit in range(3))]


def test_a_unit_is_copied_with_hashes_or_pictures_and_pasted(panel: Any) -> None:
    copy, paste = event("units_copy")[0], event("units_paste")[0]
    fields = values(model="edges", image=PICTURE, weight=0.5)
    text, said, _ = copy(1, False, *fields)
    assert (json.loads(text)["image"], said) == (f"sha:{image_hash(PICTURE)}", "")
    made, said = paste(text)
    assert "image" not in json.loads(made)["values"]
    assert json.loads(made)["missing"] == {"image": f"sha:{image_hash(PICTURE)}"}
    assert said == "Not in the pasted text: Picture. Choose these pictures again."
    made, said = paste(copy(1, True, *fields)[0])
    assert json.loads(made)["values"]["image"] == encode_image(PICTURE)
    assert said == ""


def test_files_are_pasted_as_the_page_keeps_them(panel: Any) -> None:
    module = fresh("panel.unit_tabs")
    parts = {"images": SimpleNamespace(postprocess=lambda paths: [{"name": path} for path in paths])}
    text = json.dumps({"model": "edges", "images": [encode_image(PICTURE)] * 2})
    made, said = module.pasted_values(text, parts)
    paths = [Path(each["name"]) for each in json.loads(made)["values"]["images"]]
    assert [path.name for path in paths] == ["000.png", "001.png"]
    assert Image.open(paths[1]).getpixel((0, 0)) == (255, 0, 0)
    assert said == ""


def test_what_is_wrong_is_said_with_the_fields_label(panel: Any) -> None:
    copy = event("units_copy")[0]
    text, said, marks = copy(2, False, *values())
    assert (text, said.startswith("Unit 2, Model: choose a model")) == ("", True)
    assert "ctrlgen_{tab}_unit2_model" in marks
    text, said, marks = copy(2, False, *values(model="edges", guidance_start=0.9, guidance_end=0.1))
    assert (text, said.startswith("Unit 2, Start: ")) == ("", True)
    assert "ctrlgen_{tab}_unit2_guidance_start" in marks


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"model": "a", "weight": "1@x"}', "Wrong in the pasted text: Weight: expected "),
        ('{"model": "a", "wieght": 1}', "Wrong in the pasted text: wieght: unknown field (nearest: weight"),
        ("chair", "Wrong in the pasted text: the text is not JSON"),
        ('{"units": [{}, {}]}', "Wrong in the pasted text: the text has 2 units"),
    ],
)
def test_what_is_wrong_in_a_pasted_text_is_said_without_a_unit_of_the_panel(
    panel: Any, text: str, sentence: str
) -> None:
    made, said = event("units_paste")[0](text)
    assert (made, said.startswith(sentence), "$" in said) == ("", True, False), said


def test_the_preview_neither_waits_for_a_generation_nor_needs_files_that_are_missing(
    panel: Any, host: FakeWebUI
) -> None:
    live = event("live")[0]
    fields = values(image=PICTURE, preprocessor="invert")
    made, said = live(0, 64, 32, *fields)
    assert (made.size, said) == ((64, 32), "")
    lock = host.loaded["modules.call_queue"].queue_lock
    with lock:
        assert live(0, 64, 32, *fields) == (None, "busy")
    assert not lock.locked()
    for missing in ("depth", "depth_midas"):
        assert live(0, 64, 32, *values(image=PICTURE, preprocessor=missing)) == (None, "quiet")
    assert "choose a picture" in live(0, 64, 32, *values(preprocessor="invert"))[1]
