"""The strength, the copy of a picture, tooltips and concepts in a browser, without a WebUI."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lib_ctrlgen.forms.strengths import PRESETS, at
from tests.support.script_page import page_of

UNIT = "ctrlgen_txt2img_unit0"
PRESET = json.dumps(PRESETS["face"])
FIELDS = {"weight": 0.8, "guidance_start": 0.2, "guidance_end": 1, "strength": 50}
NUMBERS = "".join(
    f'<div id="{UNIT}_{name}"><input type="range"><input type="number" value="{value}"></div>'
    for name, value in FIELDS.items()
)
CONCEPTS = "".join(
    f'<div class="ctrlgen-concept" id="c{place}"><p id="c{place}_used"><input type="checkbox"></p></div>'
    for place in range(4)
)
TEXTS = json.dumps({"unit": {"weight": "How strongly"}, "kind": {"edges": "Keeps edges"}, "panel": {}})
BODY = f"""
<div id="setting_sd_model_checkpoint"><input value="a [1]"></div>
<div class="ctrlgen" id="ctrlgen_txt2img_panel">
<div class="ctrlgen-unit" id="{UNIT}_panel"><div class="ctrlgen-strength">{NUMBERS}
<button id="{UNIT}_strength_low"></button><button id="{UNIT}_strength_middle"></button>
<button id="{UNIT}_strength_high"></button></div>
<div id="{UNIT}_model"><input value="face-net"></div><div id="{UNIT}_preprocessor"><input value="none"></div>
<div id="{UNIT}_weight_schedule"><textarea></textarea></div>
<div id="{UNIT}_presets"><textarea>{PRESET}</textarea></div>
<div id="{UNIT}_checkpoint"><textarea></textarea></div>
<div class="ctrlgen-kinds"><label><input type="radio" value="edges"><span>Edges</span></label></div>
<p class="ctrlgen-chosen" data-tab="txt2img" data-unit="{UNIT}">.</p></div>
<div id="ctrlgen_txt2img_blend">{CONCEPTS}</div><button id="ctrlgen_txt2img_concept_add"></button>
<div class="ctrlgen-tooltips" data-texts='{TEXTS}'></div></div>
"""


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, ["ctrlgen", "ctrlgen_kinds", "editors/concepts"]) as opened:
        opened.evaluate("ctrlgenKinds.update()")
        yield opened


def test_the_strength_is_pythons(page: Any) -> None:
    for kind, rows in PRESETS.items():
        for place in (0, 15, 50, 65, 100):
            given = page.evaluate("([s, p]) => ctrlgenKinds.strength(s, p)", [place, json.dumps(rows)])
            weight, start, end = at(rows, place)
            assert given == [weight, "", start, end], kind


def test_the_line_and_the_buttons_say_what_is_set(page: Any) -> None:
    line = page.locator(".ctrlgen-chosen")
    assert line.inner_text() == "face-net · no preprocessor · weight 0.8 · 20 % to 100 % of the steps"
    middle = page.locator(f"#{UNIT}_strength_middle")
    assert middle.get_attribute("aria-pressed") == "true"
    page.fill(f"#{UNIT}_weight input[type=number]", "0.7")
    assert middle.get_attribute("aria-pressed") == "false"
    assert "ctrlgen-custom" in page.locator(".ctrlgen-strength").get_attribute("class")


def test_fields_and_kinds_have_tooltips_and_the_checkpoint_is_noticed(page: Any) -> None:
    assert page.locator(f"#{UNIT}_weight").get_attribute("title") == "How strongly"
    assert page.locator(".ctrlgen-kinds label").get_attribute("title") == "Keeps edges"
    field = page.locator(f"#{UNIT}_checkpoint textarea")
    assert field.input_value() == "a [1]"
    page.fill("#setting_sd_model_checkpoint input", "b [2]")
    assert field.input_value() == "b [2]"


def test_the_server_gets_a_small_copy_of_the_picture(page: Any) -> None:
    script = """async () => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 600, height: 400});
      const copy = await ctrlgenKinds.copy(canvas.toDataURL(), null, "", false);
      const image = new Image();
      await new Promise((done) => { image.onload = done; image.src = copy; });
      const words = [
        [null, null, "", false], [null, ["a"], "", false], ["x", null, "{}", false], [null, null, "", true],
      ];
      return [image.width, image.height, ...words.map((given) => ctrlgenKinds.copy(...given))];
    }"""
    assert page.evaluate(script) == [48, 48, "", "map", "pose", "photo"]


def test_concepts_are_shown_one_by_one(page: Any) -> None:
    shown = page.locator(".ctrlgen-concept:visible")
    assert shown.count() == 2
    page.evaluate("ctrlgenConcepts.add('txt2img')")
    assert shown.count() == 3
    assert page.locator("#c2 input").is_checked()
    page.evaluate("ctrlgenConcepts.add('txt2img'); ctrlgenConcepts.add('txt2img')")
    assert shown.count() == 4
    assert page.locator("#ctrlgen_txt2img_concept_add").is_disabled()
