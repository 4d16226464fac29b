"""The curve editor in a browser: its values are Python's, and mouse and keys write the field's text."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.curve import EASINGS
from lib_ctrlgen.request.schedule import parse_schedule
from tests.support.script_page import page_of

UNIT = "ctrlgen_txt2img_unit0_"
BODY = f"""
<div id="txt2img_steps"><input type="number" value="20"></div>
<div id="txt2img_cfg_scale"><input type="number" value="7"></div>
<div class="ctrlgen" id="ctrlgen_txt2img_panel">
<div class="ctrlgen-enabled"><input type="checkbox" checked></div>
<div id="{UNIT}weight"><input type="number" value="1"><input type="range" min="0" max="2" step="0.05"></div>
<div id="{UNIT}weight_schedule"><textarea></textarea></div>
<div id="{UNIT}hires"><textarea></textarea></div>
<div id="{UNIT}guidance_start"><input type="number" value="0"></div>
<div id="{UNIT}guidance_end"><input type="number" value="1"></div>
<div id="{UNIT}reuse"><input type="number" value="1"></div>
<div id="ctrlgen_txt2img_cfg_scale"><textarea></textarea></div>
<div id="ctrlgen_txt2img_prompt_weights"><textarea></textarea></div>
<div class="ctrlgen-curves" data-tab="txt2img" data-unit="0"></div>
<div class="ctrlgen-curves" data-tab="txt2img" data-unit="all"></div>
</div>
"""
SCRIPTS = ["ctrlgen", "editors/schedule", "editors/curve"]


@pytest.fixture(scope="module")
def shared(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, SCRIPTS) as opened:
        yield opened


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, SCRIPTS) as opened:
        opened.evaluate("ctrlgenCurve.update()")
        yield opened


def written(page: Any, name: str = f"{UNIT}weight_schedule") -> str:
    return str(page.locator(f"#{name} textarea").input_value())


def plot(page: Any) -> Any:
    return page.locator(".ctrlgen-curves svg").first


def point(page: Any, at: float, value: float, high: float = 1.5) -> tuple[float, float]:
    """The place on the screen of a value at a progress, on a plot from 0 to `high`."""
    bounds = plot(page).bounding_box()
    scale = bounds["width"] / 640
    return bounds["x"] + scale * (36 + at * 594), bounds["y"] + scale * (10 + (1 - value / high) * 148)


@st.composite
def schedules(draw: st.DrawFn) -> str:
    places = sorted(draw(st.sets(st.integers(0, 100), min_size=1, max_size=6)))
    values = st.floats(-3, 3).map(lambda value: round(value, 3))
    easing = st.sampled_from(sorted(EASINGS))
    points = ", ".join(f"{draw(values)}@{place / 100} {draw(easing)}" for place in places)
    window = sorted((draw(st.integers(0, 100)), draw(st.integers(0, 100))))
    text = points + (f" in {window[0] / 100}..{window[1] / 100}" if draw(st.booleans()) else "")
    return text + (f" * {draw(values)}>{draw(values)} {draw(easing)}" if draw(st.booleans()) else "")


@given(text=schedules(), steps=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_values_and_texts_are_those_of_python(shared: Any, text: str, steps: int) -> None:
    script = "([text, steps]) => ctrlgenSchedule.sample(ctrlgenSchedule.read(text), steps)"
    assert shared.evaluate(script, [text, steps]) == pytest.approx(
        parse_schedule(text).sample(steps), abs=1e-9
    )
    again = shared.evaluate(
        "(text) => ctrlgenSchedule.read(text).map(ctrlgenSchedule.write).join(' * ')", text
    )
    assert parse_schedule(again).sample(steps) == pytest.approx(parse_schedule(text).sample(steps), abs=1e-9)


@given(st.text("0123456789.@>,*- inhold", max_size=16))
@settings(max_examples=150, deadline=None)
def test_the_same_texts_are_errors(shared: Any, text: str) -> None:
    script = "(text) => { try { ctrlgenSchedule.read(text); return true; } catch (error) { return false; } }"
    try:
        parse_schedule(text)
        reads = True
    except RequestError:
        reads = False
    assert shared.evaluate(script, text) == reads


def test_points_are_added_dragged_and_removed_by_mouse(page: Any) -> None:
    page.mouse.click(*point(page, 0.5, 0.5))
    before = written(page)
    assert parse_schedule(before)(0.5) == pytest.approx(0.5, abs=0.02)
    page.mouse.move(*point(page, 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*point(page, 0.61, 0.3), steps=4)
    assert written(page) == before
    page.mouse.up()
    assert parse_schedule(written(page)).curves[0].keyframes[1].progress == 0.6
    assert parse_schedule(written(page))(0.6) == pytest.approx(0.3, abs=0.02)
    page.mouse.dblclick(*point(page, 0.6, parse_schedule(written(page))(0.6)))
    assert written(page) == ""
    assert page.locator(f"#{UNIT}weight input[type=number]").input_value() == "1"


def test_escape_ends_a_drag_without_a_change(page: Any) -> None:
    page.mouse.move(*point(page, 0, 1))
    page.mouse.down()
    page.mouse.move(*point(page, 0, 0.2))
    page.keyboard.press("Escape")
    page.mouse.up()
    assert written(page) == ""
    assert page.locator(".ctrlgen-curves .point").first.get_attribute("aria-valuenow") == "1"


def test_everything_works_by_keyboard(page: Any) -> None:
    page.locator(".point").first.focus()
    page.keyboard.press("Enter")
    assert written(page) == "1@0, 1@0.5"
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "Shift+ArrowDown", "ArrowRight", "e"):
        page.keyboard.press(key)
    assert written(page) == "1@0, 0.89@0.55 hold"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert written(page) == "1@0, 0.89@0.5"
    page.keyboard.press("Control+y")
    assert written(page) == "1@0, 0.89@0.55"
    page.keyboard.press("Delete")
    assert written(page) == ""


def test_a_constant_is_the_sliders_value(page: Any) -> None:
    page.locator(".point").first.focus()
    page.keyboard.press("ArrowDown")
    assert written(page) == ""
    assert page.locator(f"#{UNIT}weight input[type=number]").input_value() == "0.99"


def test_what_is_typed_is_drawn_with_its_cost(page: Any) -> None:
    field = page.locator(f"#{UNIT}weight_schedule textarea")
    field.fill("1@0, 0@0.5")
    note = page.locator(".ctrlgen-curves .ctrlgen-note").first
    assert note.inner_text() == "Unit 0: acts at 10 of 20 steps, 10 calls of the network."
    page.locator(f"#{UNIT}reuse input").fill("3")
    assert "4 calls" in note.inner_text()
    page.locator(f"#{UNIT}guidance_end input").fill("0.25")
    assert "acts at 5 of 20 steps" in note.inner_text()
    assert page.locator(".ctrlgen-curves .outside").count() >= 1
    field.fill("1@0, 0@2")
    assert "\u25b6" in note.inner_text()
    assert page.locator(".ctrlgen-curves").first.locator(".point").count() == 0
    field.fill("1>0 * 0>1")
    assert "changed as text" in note.inner_text()


def paste(page: Any, name: str, text: str) -> None:
    """Paste a text into a field, as the clipboard does."""
    page.locator(f"#{name} textarea").evaluate(
        "(field, text) => { field.dispatchEvent(new ClipboardEvent('paste', {bubbles: true})); "
        "field.value = text; updateInput(field); }",
        text,
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0:(0.5), 10:(1)", "0.5@0, 1@0.5"),
        ("5: 0.3", "0.3@0.25"),
        ("0:(0), 40:(1)", "0@0, 0.5@1"),  # ends behind the last of 20 steps
        ("0:(0), 20:(1), 40:(0)", "0@0, 1@1"),
        ("0:(0), 5:(1), 5:(2)", "0:(0), 5:(1), 5:(2)"),  # two values at a step
        ("0.2@0.1, 1@0.5", "0.2@0.1, 1@0.5"),
    ],
)
def test_the_field_holds_what_the_curve_shows(page: Any, text: str, kept: str) -> None:
    paste(page, f"{UNIT}weight_schedule", text)
    page.wait_for_timeout(50)
    assert written(page) == kept
    drawn = page.locator(".ctrlgen-curves").first.locator(".point").count()
    assert drawn == (len(parse_schedule(kept).curves[0].keyframes) if "@" in kept else 0)
    if kept != text:
        page.locator(".ctrlgen-curves").first.locator(".ctrlgen-undo").click()
        assert written(page) == text


def test_what_is_typed_is_converted_when_the_field_is_left(page: Any) -> None:
    field = page.locator("#ctrlgen_txt2img_cfg_scale textarea")
    field.press_sequentially("0:(3), 10:(7)")
    assert written(page, "ctrlgen_txt2img_cfg_scale") == "0:(3), 10:(7)"
    area = page.locator(".ctrlgen-curves").nth(1)
    area.locator(".ctrlgen-track").select_option("Guidance")
    assert "\u25b6" in area.locator(".ctrlgen-note").first.inner_text()  # as Python says
    field.blur()
    page.wait_for_timeout(50)
    assert written(page, "ctrlgen_txt2img_cfg_scale") == "3@0, 7@0.5"
    assert parse_schedule(written(page, "ctrlgen_txt2img_cfg_scale"))(0.25) == 5


def test_presets_easings_and_the_last_run(page: Any) -> None:
    area = page.locator(".ctrlgen-curves").first
    area.locator(".ctrlgen-preset").select_option("Ramp down")
    assert written(page) == "1@0, 0@1"
    area.locator(".point").first.focus()
    area.locator(".ctrlgen-easing").select_option("smooth")
    assert written(page) == "1@0 smooth, 0@1"
    for name in ("Bell", "Late", "Early", "Pulse", "Ramp up"):
        area.locator(".ctrlgen-preset").select_option(name)
        parse_schedule(written(page))
    page.evaluate(
        "(text) => { document.body.insertAdjacentHTML('beforeend', "
        "'<div id=\"generation_info_txt2img\"><textarea></textarea></div>'); "
        "document.querySelector('#generation_info_txt2img textarea').value = "
        "JSON.stringify({infotexts: ['a cat\\nSteps: 4, CtrlGen: ' + JSON.stringify(text)]}); }",
        '{"units":[{"weight":"1>0.3"}]}',
    )
    area.locator(".ctrlgen-preset").select_option("From the last run")
    assert written(page) == "1>0.3"


def test_all_curves_of_the_panel_in_one_plot(page: Any) -> None:
    page.locator("#ctrlgen_txt2img_prompt_weights textarea").fill("glow=1>0.5; sky=1")
    area = page.locator(".ctrlgen-curves").nth(1)
    assert area.locator(".ctrlgen-track option").all_inner_texts() == [
        "Unit 0", "Guidance", "(… :glow)", "(… :sky)",
    ]  # fmt: skip
    area.locator(".ctrlgen-track").select_option("(… :sky)")
    area.locator(".point").first.focus()
    page.keyboard.press("ArrowUp")
    assert written(page, "ctrlgen_txt2img_prompt_weights") == "glow=1>0.5; sky=1.01"
    area.locator(".ctrlgen-track").select_option("Guidance")
    area.locator(".ctrlgen-preset").select_option("Ramp down")
    assert written(page, "ctrlgen_txt2img_cfg_scale") == "7@0, 0@1"


def test_a_hundred_points_can_be_edited(page: Any) -> None:
    text = ", ".join(f"{number % 3 / 2}@{number / 100}" for number in range(100))
    page.locator(f"#{UNIT}weight_schedule textarea").fill(text)
    assert page.locator(".ctrlgen-curves").first.locator(".point").count() == 100


@pytest.fixture
def touched(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, SCRIPTS, touch=True) as opened:
        opened.evaluate("ctrlgenCurve.update()")
        yield opened


def finger(page: Any, *places: tuple[float, float]) -> None:
    """Put a finger down at the first place, move it over the others, and lift it."""
    device = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(places):
        kind = "touchMove" if number else "touchStart"
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    device.detach()


def test_a_finger_adds_drags_and_removes_points(touched: Any) -> None:
    touched.touchscreen.tap(*point(touched, 0.5, 0.5))
    assert parse_schedule(written(touched))(0.5) == pytest.approx(0.5, abs=0.02)
    x, y = point(touched, 0.5, 0.5)
    finger(touched, (x + 12, y - 8), point(touched, 0.6, 0.4), point(touched, 0.7, 0.2))  # beside the point
    moved = written(touched)
    assert parse_schedule(moved).curves[0].keyframes[1].progress == 0.7
    assert parse_schedule(moved)(0.7) == pytest.approx(0.2, abs=0.02)
    x, y = point(touched, 0.7, 0.2)
    finger(touched, (x + 6, y + 4), (x + 8, y + 7))  # not still, and not moved either
    assert written(touched) == moved
    finger(touched, (x - 5, y))
    assert written(touched) == ""


def test_the_chosen_point_has_a_button_that_removes_it(touched: Any) -> None:
    button = touched.locator(".ctrlgen-remove").first
    assert button.is_disabled()  # a curve has a point
    touched.locator(f"#{UNIT}weight_schedule textarea").fill("1@0, 0.2@0.5, 1@1")
    touched.touchscreen.tap(*point(touched, 0.5, 0.2))
    button.tap()
    assert written(touched) == "1@0, 1@1"
    touched.locator(".ctrlgen-undo").first.tap()
    assert written(touched) == "1@0, 0.2@0.5, 1@1"
