"""The page's script for errors, in a browser: marks, tabs, accordions, the focus, and when marks go away."""

import html
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lib_ctrlgen.forms.field_errors import mark_of, marks_json
from lib_ctrlgen.forms.param_html import params_html
from tests.support.script_page import page_of
from tests.support.unit_values import all_params

TAB = "ctrlgen_txt2img"
UNIT = f"{TAB}_unit0"
PARAMS = ("canny_low_threshold", "controlnet_union_union_type", "openpose_json_hands")


def tab_items(*contents: str) -> str:
    """gradio 3.41's tabs: the first is shown, and a button shows another."""
    script = (
        "this.parentElement.parentElement.querySelectorAll(':scope > .tabitem')"
        ".forEach((item, i) => { item.style.display = i === NUMBER ? 'block' : 'none'; })"
    )
    buttons = "".join(
        f'<button onclick="{script.replace("NUMBER", str(n))}">Unit {n}</button>'
        for n in range(len(contents))
    )
    items = "".join(
        f'<div class="tabitem" style="display: {"none" if n else "block"}">{each}</div>'
        for n, each in enumerate(contents)
    )
    return f'<div id="{TAB}_tabs"><div class="tab-nav">{buttons}</div>{items}</div>'


def accordion(content: str, elem_id: str) -> str:
    """gradio 3.41's accordion, closed."""
    script = (
        "const open = this.classList.toggle('open');"
        "this.nextElementSibling.style.display = open ? 'block' : 'none'"
    )
    return (
        f'<div id="{elem_id}" class="ctrlgen"><div class="label-wrap" onclick="{script}">more</div>'
        f'<div style="display: none">{content}</div></div>'
    )


def units() -> str:
    first = (
        f'<div id="{UNIT}_panel"><div id="{UNIT}_weight_schedule"><textarea></textarea></div>'
        f'<div id="{UNIT}_image"><input type="file"></div>'
        + params_html({name: all_params()[name] for name in PARAMS}, {}, f"{UNIT}_")
        + accordion(f'<div id="{UNIT}_mask_strength"><textarea></textarea></div>', f"{UNIT}_advanced")
        + f'<div id="{UNIT}_map_error"></div></div>'
    )
    hidden = f'<div id="{TAB}_unit1_pose" class="hidden"></div><div id="{TAB}_unit1_image">picture</div>'
    return tab_items(first, f'<div id="{TAB}_unit1_panel">{hidden}</div>')


BODY = (
    '<div id="txt2img_prompt"><textarea></textarea></div><button id="txt2img_generate">Generate</button>'
    '<div id="generation_info_txt2img"><textarea></textarea></div>'
    + accordion(
        f'<div id="{TAB}_errors"><div class="ctrlgen-errors" data-said=""></div></div>{units()}',
        f"{TAB}_panel",
    )
)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, ["ctrlgen", "ctrlgen_errors"]) as opened:
        yield opened


def answered(page: Any, *marks: Any, run: int = 0) -> None:
    """The page gets the answer of a generation, with these marks."""
    shown = {"CtrlGen marks": json.loads(marks_json(marks))} if marks else {}
    text = json.dumps({"job_timestamp": run, "extra_generation_params": shown})
    page.evaluate(
        "(text) => { const info = document.querySelector('#generation_info_txt2img textarea');"
        " info.value = text; document.dispatchEvent(new Event('change')); }",
        text,
    )


WEIGHT_FIELD = f"#{UNIT}_weight_schedule"


def schedule_mark() -> Any:
    from lib_ctrlgen.forms.field_places import PanelValues

    return mark_of("$.units[0].weight", "is wrong", PanelValues({0: {"weight_schedule": "x"}}))


def test_a_field_is_marked_and_what_hides_it_is_opened(page: Any) -> None:
    answered(page, mark_of("$.units[0].mask_strength", "must stay within 0..1, is 3"))
    field = f"#{UNIT}_mask_strength"
    page.wait_for_selector(f"{field}.ctrlgen-wrong", state="visible")
    note = page.locator(f"{field} > .ctrlgen-error")
    assert note.inner_text() == "Must stay within 0..1, is 3."
    area = page.locator(f"{field} textarea")
    assert area.get_attribute("aria-invalid") == "true"
    assert area.get_attribute("aria-description") == note.inner_text()
    listed = page.locator(f"#{TAB}_errors button")
    assert listed.all_inner_texts() == ["Unit 0, Mask strength: must stay within 0..1, is 3."]
    bad = page.locator(".tab-nav > button").evaluate_all("(b) => b.map((e) => e.className)")
    assert bad == ["ctrlgen-failed", ""]


def test_a_mark_goes_away_when_its_field_changes(page: Any) -> None:
    answered(page, schedule_mark(), mark_of("$.units[0].image", "is missing"))
    page.wait_for_selector(f"{WEIGHT_FIELD}.ctrlgen-wrong")
    page.locator(f"{WEIGHT_FIELD} textarea").fill("1")
    assert page.locator(".ctrlgen-wrong").count() == 1, "the other field's remains"
    assert page.locator(f"{WEIGHT_FIELD} textarea").get_attribute("aria-invalid") is None
    assert page.locator(f"{WEIGHT_FIELD} p").count() == 0


@pytest.mark.parametrize("name", PARAMS)
def test_a_parameter_is_marked_until_it_changes(page: Any, name: str) -> None:
    answered(page, mark_of(f"$.units[0].params.{all_params()[name].name}", "is wrong"))
    field = page.locator(f"#{UNIT}_{name}")
    page.wait_for_selector(f"#{UNIT}_{name}.ctrlgen-wrong", state="visible")
    assert page.locator(".ctrlgen-wrong").count() == 1
    assert field.locator("> .ctrlgen-error").inner_text() == "Is wrong."
    inputs = field.locator("input, select")
    marked = inputs.evaluate_all("(all) => all.map((each) => each.ariaInvalid)")
    assert marked == ["true"] * inputs.count()
    if name == "controlnet_union_union_type":
        field.locator("select").select_option("depth")
    elif name == "openpose_json_hands":
        field.locator("input").uncheck()
    else:
        field.locator("input[type=number]").fill("50")
    assert page.locator(".ctrlgen-wrong, .ctrlgen-error").count() == 0
    assert inputs.first.get_attribute("aria-invalid") is None


def test_marks_go_away_with_a_new_answer_or_a_new_generation(page: Any) -> None:
    answered(page, schedule_mark())
    answered(page, run=1)
    assert page.locator(".ctrlgen-wrong, .ctrlgen-failed, .ctrlgen-errors button").count() == 0
    answered(page, schedule_mark(), run=2)
    page.locator("#txt2img_generate").click()  # and the server goes away
    assert page.locator(".ctrlgen-wrong, .ctrlgen-failed, .ctrlgen-errors button").count() == 0
    answered(page, schedule_mark(), run=3)
    assert page.locator(".ctrlgen-wrong").count() == 1


def test_the_other_tab_is_opened_and_hidden_fields_are_passed_over(page: Any) -> None:
    page.locator(".label-wrap").first.click()
    answered(page, mark_of("$.units[1].image", "is missing"))
    page.wait_for_selector(f"#{TAB}_unit1_image.ctrlgen-wrong", state="visible")
    assert page.locator(f"#{TAB}_unit1_pose.ctrlgen-wrong").count() == 0


def test_who_is_typing_stays_where_he_is(page: Any) -> None:
    page.locator("#txt2img_prompt textarea").focus()
    page.keyboard.type("a c")
    answered(page, schedule_mark())
    page.keyboard.type("at")
    assert page.locator("#txt2img_prompt textarea").input_value() == "a cat"
    assert not page.locator(WEIGHT_FIELD).is_visible(), "nothing is opened or scrolled"
    page.locator("#txt2img_generate").focus()
    assert page.locator(f"{WEIGHT_FIELD}.ctrlgen-wrong").count() == 1


def test_a_warning_is_a_note_without_a_red_field(page: Any) -> None:
    answered(page, mark_of("$.units[0].image", "is grey everywhere", warning=True))
    assert page.locator(f"#{UNIT}_image > .ctrlgen-note").inner_text() == "Is grey everywhere."
    assert page.locator(".ctrlgen-wrong, .ctrlgen-failed, .ctrlgen-errors button").count() == 0


def test_a_preview_marks_a_field_as_long_as_its_error_is_there(page: Any) -> None:
    data = html.escape(marks_json([schedule_mark()]))
    page.evaluate(
        "([id, text]) => { document.querySelector(id).innerHTML = text; document.body.click(); }",
        [f"#{UNIT}_map_error", f'<p data-marks="{data}">wrong</p>'],
    )
    page.wait_for_selector(f"{WEIGHT_FIELD}.ctrlgen-wrong")
    answered(page, run=1)
    assert page.locator(".ctrlgen-wrong").count() == 1, "a generation says nothing about the preview"
    page.evaluate(
        "(id) => { document.querySelector(id).innerHTML = ''; document.body.click(); }", f"#{UNIT}_map_error"
    )
    assert page.locator(".ctrlgen-wrong").count() == 0
