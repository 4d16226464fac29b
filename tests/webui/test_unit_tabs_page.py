"""The tabs of units in a browser, on a page that keeps fields as gradio does: the script's part of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.script_page import page_of

UNITS, FIELDS = 4, ["enabled", "model", "weight", "map", "map_error"]
ABOUT = {
    "fields": FIELDS,
    "defaults": {"enabled": False, "model": "None", "weight": 1, "map": None, "map_error": ""},
    "units": UNITS,
    "most": 10,
}


def area(unit: int) -> str:
    name = f"ctrlgen_txt2img_unit{unit}"
    return f"""<div class="tabitem" id="{name}_tab">
<div id="{name}_enabled" class="ctrlgen-enabled"><input type="checkbox"></div>
<div id="{name}_model"><input value="None"></div>
<div id="{name}_weight"><input type="number" value="1"></div>
<div id="{name}_image"></div><div id="{name}_map"></div><div id="{name}_map_error"></div>
<div id="{name}_kind" class="ctrlgen-kinds"><label><input type="radio" value="pose"><span>Pose</span></label>
<label><input type="radio" value="other"><span>Other</span></label></div>
<div id="{name}_preprocessor"><input value="none"></div></div>"""


# As gradio: the buttons are made anew when a tab is chosen; a hidden button runs an event on all fields.
GRADIO = """
const field = (i, name) => document.querySelector(`#ctrlgen_txt2img_unit${i}_${name} input`);
const extra = {};
const get = (i, name) => {
  if (name === "enabled") return field(i, name).checked;
  if (name.startsWith("map")) return extra[`${i}${name}`] || null;
  return name === "weight" ? Number(field(i, name).value) : field(i, name).value;
};
const set = (i, name, value) => {
  if (name === "enabled") field(i, name).checked = value;
  else if (name.startsWith("map")) extra[`${i}${name}`] = value;
  else field(i, name).value = value;
};
const nav = document.querySelector(".tab-nav");
const choose = (chosen) => nav.replaceChildren(...[...nav.children].map((old, i) => {
  const button = document.createElement("button");
  button.textContent = i < UNITS ? `Unit ${i} ` : "Blend";
  button.className = i === chosen ? "selected" : "";
  button.onclick = () => choose(i);
  return button;
}));
choose(0);
document.querySelector("#ctrlgen_txt2img_units_move").onclick = async () => {
  const places = [...Array(UNITS).keys()].flatMap((i) => FIELDS.map((name) => [i, name]));
  const made = await ctrlgenUnits.moved("txt2img", places.map(([i, name]) => get(i, name)));
  made.forEach((value, k) => value && value.__type__ === "update" || set(...places[k], value));
};
"""
BODY = f"""<div class="ctrlgen" id="ctrlgen_txt2img_panel"><div id="ctrlgen_txt2img_tabs">
<div class="tab-nav">{"<button></button>" * (UNITS + 1)}</div>
{"".join(map(area, range(UNITS)))}<div class="tabitem" id="b"></div></div></div>
<div id="ctrlgen_txt2img_units"><div data-about='{json.dumps(ABOUT)}'></div></div>
<button hidden id="ctrlgen_txt2img_units_move"></button>
<button hidden id="ctrlgen_txt2img_units_paste"></button>
<script>const UNITS = {UNITS}, FIELDS = {json.dumps(FIELDS)};{GRADIO}</script>"""
SCRIPTS = ["ctrlgen", "editors/units", "editors/unit_bar", "editors/unit_live"]


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, SCRIPTS) as opened:
        opened.evaluate("navigator.clipboard && Object.defineProperty(navigator, 'clipboard', {value: {}})")
        opened.wait_for_selector("[data-action=add]")
        yield opened


def fill(page: Any, unit: int, model: str, weight: float, *, enabled: bool = True) -> None:
    name = f"#ctrlgen_txt2img_unit{unit}"
    page.evaluate(f"[set({unit}, 'model', '{model}'), set({unit}, 'map', 'map of {model}')]")
    page.locator(f"{name}_weight input").fill(str(weight))
    page.locator(f"{name}_enabled input").set_checked(enabled)


def filled(page: Any, count: int = 3) -> Any:
    """A page with some units, of which the first is chosen."""
    for unit in range(count):
        fill(page, unit, f"control_v11p_sd15_{'abc'[unit]} [0123abcd]", unit + 0.5)
    return page


def act(page: Any, name: str) -> None:
    page.locator(f"[data-action={name}]").click()
    page.wait_for_timeout(150)


def tabs(page: Any) -> list[str]:
    script = "all => all.filter(b => !b.hidden).map(b => b.title || b.innerText)"
    return [str(each) for each in page.locator(".tab-nav > button").evaluate_all(script)]


def kinds(page: Any) -> str:
    """The letters of the units' models in their order."""
    return "".join(each.split(", ")[1][0] for each in tabs(page)[:-1] if "no model" not in each)


def test_a_unit_that_is_used_is_shown_and_says_what_it_is(page: Any) -> None:
    assert tabs(page) == ["Unit 0, no model, weight 1, off", "Blend"]
    fill(page, 1, "t2iadapter_depth_sd15v2.pth", 0.5, enabled=False)
    assert tabs(page)[1] == "Unit 1, depth, weight 0.5, off"
    button = page.locator(".tab-nav > button").nth(1)
    assert button.inner_text() == "Unit 1 depth 0.5"
    button.click()
    page.wait_for_timeout(50)
    assert button.get_attribute("aria-selected") == "true"
    assert button.inner_text() == "Unit 1 depth 0.5"


def test_a_tab_names_the_kind_with_its_icon(page: Any) -> None:
    button = page.locator(".tab-nav > button").nth(1)
    fill(page, 1, "t2iadapter_depth_sd15v2.pth", 0.5)
    kind = page.locator("#ctrlgen_txt2img_unit1_kind input")
    kind.first.check(force=True)
    assert button.inner_text() == "Unit 1 Pose 0.5"
    assert tabs(page)[1] == "Unit 1, Pose, weight 0.5, on"
    icon = "part => getComputedStyle(part, '::before').maskImage"
    assert button.locator(".ctrlgen-what").evaluate(icon).startswith("url(")
    page.evaluate("set(1, 'model', 'None')")
    page.locator("#ctrlgen_txt2img_unit1_weight input").fill("1")
    assert tabs(page)[1] == "Unit 1, Pose, no model, weight 1, on"
    fill(page, 1, "t2iadapter_depth_sd15v2.pth", 0.5)
    kind.first.evaluate("radio => { radio.checked = false; }")
    kind.last.check(force=True)
    assert tabs(page)[1] == "Unit 1, depth, weight 0.5, on"
    assert button.locator(".ctrlgen-what").evaluate(icon) == "none"


def test_units_are_moved_with_their_maps(page: Any) -> None:
    filled(page)
    act(page, "right")
    assert kinds(page) == "bac"
    assert "map of control_v11p_sd15_a" in page.evaluate("get(1, 'map')")
    act(page, "right")
    assert kinds(page) == "bca"
    assert page.locator("[data-action=right]").is_disabled()
    act(page, "undo")
    act(page, "undo")
    assert kinds(page) == "abc"


def test_a_tab_is_dragged(page: Any) -> None:
    filled(page)
    boxes = [page.locator(".tab-nav > button").nth(k).bounding_box() for k in (0, 2)]
    page.mouse.move(boxes[0]["x"] + 9, boxes[0]["y"] + 9)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + boxes[1]["width"] - 4, boxes[1]["y"] + 9, steps=5)
    assert page.locator(".ctrlgen-target").count() == 1
    page.keyboard.press("Escape")
    page.mouse.up()
    assert kinds(page) == "abc"
    page.mouse.move(boxes[0]["x"] + 9, boxes[0]["y"] + 9)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + boxes[1]["width"] - 4, boxes[1]["y"] + 9, steps=5)
    page.mouse.up()
    page.wait_for_timeout(150)
    assert kinds(page) == "bca"


def test_units_are_added_duplicated_and_removed(page: Any) -> None:
    filled(page, 2)
    act(page, "duplicate")
    assert kinds(page) == "aab"
    page.locator(".tab-nav > button").first.click()
    act(page, "remove")
    act(page, "remove")
    assert kinds(page) == "b"
    act(page, "undo")
    act(page, "undo")
    assert kinds(page) == "aab"
    act(page, "add")
    assert tabs(page)[3] == "Unit 3, no model, weight 1, off"
    act(page, "add")
    assert "allows up to 10" in page.locator(".ctrlgen-units-note").inner_text()


def test_solo_and_mute_are_undone_by_the_same_button(page: Any) -> None:
    filled(page)

    def states() -> list[str]:
        return [each.split(", ")[3] for each in tabs(page)[:3]]

    page.locator("#ctrlgen_txt2img_unit2_enabled input").uncheck()
    act(page, "solo")
    assert states() == ["on", "muted", "off"]
    page.locator(".tab-nav > button").nth(2).click()
    act(page, "solo")
    assert states() == ["muted", "muted", "on"]
    act(page, "solo")
    assert states() == ["on", "on", "on"]
    act(page, "mute")
    assert states() == ["on", "on", "muted"]
    page.locator("#ctrlgen_txt2img_unit2_enabled input").check()
    page.locator("#ctrlgen_txt2img_unit2_enabled input").uncheck()
    assert states() == ["on", "on", "off"]
    act(page, "mute")
    assert "nothing to mute" in page.locator(".ctrlgen-units-note").inner_text()


def test_tabs_and_units_are_reached_by_keyboard(page: Any) -> None:
    filled(page)
    page.locator(".tab-nav > button").first.focus()
    for keys in ("Shift+ArrowRight", "ArrowRight", "d", "ArrowLeft", "Delete"):
        page.keyboard.press(keys)
        page.wait_for_timeout(150)
    assert kinds(page) == "bac"
    page.keyboard.press("Control+z")
    page.wait_for_timeout(150)
    assert kinds(page) == "bacc"


def test_without_the_clipboard_the_text_is_shown_and_typed(page: Any) -> None:
    filled(page, 1)
    page.evaluate("""() => {
        document.querySelector("#ctrlgen_txt2img_units_paste").onclick = () => {
            const values = {...JSON.parse(ctrlgenUnits.given("txt2img")[0]), enabled: true};
            const text = JSON.stringify({values, missing: {image: "sha:1"}});
            ctrlgenUnits.pasted("txt2img", text, "Not there: image.");
        };
    }""")
    act(page, "add")
    act(page, "paste")
    area = page.locator(".ctrlgen-units-text textarea")
    area.fill('{"model": "pasted"}')
    page.locator(".ctrlgen-units-text button").click()
    page.wait_for_timeout(150)
    assert tabs(page)[1] == "Unit 1, pasted, weight 1, on"
    assert page.locator(".ctrlgen-units-note").inner_text() == "Not there: image."
    act(page, "undo")
    assert tabs(page)[1] == "Unit 1, no model, weight 1, off"
