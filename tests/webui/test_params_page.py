"""The parameters of preprocessors and control families in the panel: typing, sliding, pasting, choosing.

In the bare gradio app of `tests.support.bare_webui`: skipped, saying so, without gradio 3.41 and a Chromium.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.support.axe import THEME, faults
from tests.support.bare_webui import bare_app, bare_page, picture_file
from tests.support.params_page import (
    HIGH,
    LOW,
    OPEN,
    UNIT,
    choose,
    chosen_canny,
    has_values,
    number,
    open_all,
    opened,
    paste,
    shows,
    slider,
)
from tests.support.script_page import ROOT

# gradio shows what an answer is waited for as half transparent
SETTLED = "() => !document.querySelector('.pending') && !document.getAnimations().length"
ADAPTER, EDGES = "ctrlgen-tiny-ip", "ctrlgen-tiny-edges"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with bare_app(tmp_path_factory.mktemp("webui")) as made:
        yield made


@pytest.fixture
def page(chromium: Any, app: Any) -> Iterator[Any]:
    with bare_page(chromium, app.address) as made:
        yield opened(made)
        assert not made.errors


def test_a_preprocessor_shows_its_own_parameters(page: Any) -> None:
    assert page.locator(".ctrlgen-param").count() == 0
    chosen_canny(page)
    names = "(parts) => parts.map((part) => part.dataset.name)"
    assert page.locator(".ctrlgen-param").evaluate_all(names) == [LOW, HIGH]
    shows(page, LOW, "100")
    shows(page, HIGH, "200")
    number(page, LOW).fill("50")
    choose(page, "preprocessor", "openpose_json")
    page.wait_for_selector(f"{UNIT}openpose_json_hands input", state="visible")
    assert page.locator(f"{UNIT}{LOW}").count() == 0
    has_values(page, {LOW: 50})
    page.locator(f"{UNIT}openpose_json_hands input").uncheck()
    has_values(page, {LOW: 50, "openpose_json_hands": False})
    chosen_canny(page)
    shows(page, LOW, "50")
    choose(page, "preprocessor", "none")
    page.wait_for_selector(f"{UNIT}{LOW}", state="hidden")


def test_what_is_typed_counts_and_moves_the_slider(page: Any) -> None:
    chosen_canny(page)
    has_values(page, {})
    number(page, LOW).fill("50")
    has_values(page, {LOW: 50})
    shows(page, LOW, "50")
    number(page, HIGH).fill("60")
    has_values(page, {LOW: 50, HIGH: 60})
    number(page, LOW).fill("100")
    has_values(page, {HIGH: 60})
    number(page, HIGH).fill("200")
    has_values(page, {})


def test_the_slider_is_moved_by_keyboard(page: Any) -> None:
    chosen_canny(page)
    slider(page, LOW).focus()
    page.keyboard.press("ArrowRight")
    has_values(page, {LOW: 101})
    shows(page, LOW, "101")
    page.keyboard.press("End")
    has_values(page, {LOW: 255})
    page.keyboard.press("Home")
    has_values(page, {LOW: 1})
    shows(page, LOW, "1")
    number(page, LOW).focus()
    page.keyboard.press("ArrowUp")
    has_values(page, {LOW: 2})
    shows(page, LOW, "2")


def test_a_number_that_is_not_typed_to_its_end_is_restored(page: Any) -> None:
    chosen_canny(page)
    number(page, LOW).fill("50")
    for text in ("", "-"):
        number(page, LOW).focus()
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        page.keyboard.type(text)
        assert number(page, LOW).input_value() == ""
        has_values(page, {LOW: 50})
        page.keyboard.press("Tab")
        shows(page, LOW, "50")
    number(page, HIGH).fill("")
    number(page, HIGH).blur()
    shows(page, HIGH, "200")
    has_values(page, {LOW: 50})


def test_values_that_are_pasted_are_shown(page: Any) -> None:
    unit = {"model": EDGES, "preprocessor": "canny", "params": {"low_threshold": 50}}
    paste(page, unit)
    page.wait_for_selector(f"{UNIT}{LOW}", state="visible")
    shows(page, LOW, "50")
    shows(page, HIGH, "200")
    paste(page, unit | {"params": {"high_threshold": 7}})  # nothing is chosen: the values alone change
    shows(page, LOW, "100")
    shows(page, HIGH, "7")
    has_values(page, {HIGH: 7})
    number(page, LOW).fill("9")
    has_values(page, {HIGH: 7, LOW: 9})


def test_units_have_parameters_of_their_own(page: Any) -> None:
    paste(page, {"model": EDGES, "preprocessor": "canny", "params": {"low_threshold": 50}})
    shows(page, LOW, "50")
    page.evaluate("ctrlgenUnits.duplicate('txt2img', ctrlgenUnits.panel('txt2img'), 0)")
    other = UNIT.replace("unit0", "unit1")
    shows(page, LOW, "50", other)
    page.wait_for_selector(f"{other}enabled", state="visible")
    open_all(page)
    number(page, LOW, other).fill("60")
    has_values(page, {LOW: 60}, other)
    has_values(page, {LOW: 50})
    shows(page, LOW, "50")
    page.evaluate("ctrlgenUnits.remove('txt2img', ctrlgenUnits.panel('txt2img'), 0)")
    has_values(page, {LOW: 60})
    shows(page, LOW, "60")


def test_a_family_shows_its_own_parameters_and_drops_the_others(page: Any) -> None:
    chosen_canny(page)
    number(page, LOW).fill("50")
    choose(page, "model", ADAPTER)
    page.wait_for_selector(f"{UNIT}ip_adapter_weight_type select", state="visible")
    page.locator(f"{UNIT}ip_adapter_weight_type select").select_option("ease in")
    has_values(page, {LOW: 50, "ip_adapter_weight_type": "ease in"})
    page.evaluate(OPEN, f"{UNIT}more .label-wrap:not(.open)")
    page.locator(f"{UNIT}ip_adapter_layers input").fill('3:1.0, "<b>')
    number(page, "ip_adapter_sharpening").fill("0.35")
    own = {"ip_adapter_weight_type": "ease in", "ip_adapter_layers": '3:1.0, "<b>'}
    has_values(page, {LOW: 50, **own, "ip_adapter_sharpening": 0.35})
    shows(page, "ip_adapter_sharpening", "0.35")
    choose(page, "model", EDGES)
    page.wait_for_selector(f"{UNIT}control_lora_transparent select")
    has_values(page, {LOW: 50})
    assert page.locator(f"{UNIT}ip_adapter_weight_type").count() == 0


def test_a_kind_of_an_adapter_shows_its_type_of_weight(page: Any) -> None:
    choose(page, "model", ADAPTER)
    page.wait_for_selector(f"{UNIT}ip_adapter_weight_type select", state="visible")
    page.click("#ctrlgen_txt2img_unit0_refresh")
    page.locator(f"{UNIT}kind label", has_text="Style").first.click()
    shows(page, "ip_adapter_weight_type", "style transfer")
    has_values(page, {"ip_adapter_weight_type": "style transfer"})
    page.locator(f"{UNIT}kind_undo").click()
    shows(page, "ip_adapter_weight_type", "linear")
    has_values(page, {})


def test_a_wrong_number_is_sent_and_marked_at_its_field(page: Any, tmp_path: Path) -> None:
    page.locator(f"{UNIT}image input[type=file]").set_input_files(picture_file(tmp_path))
    page.wait_for_selector(f"{UNIT}image img")
    chosen_canny(page)
    number(page, LOW).fill("999")
    has_values(page, {LOW: 999})
    page.click(f"{UNIT}show_map")
    page.wait_for_selector(f"{UNIT}{LOW}.ctrlgen-wrong")
    assert page.locator(".ctrlgen-param.ctrlgen-wrong").count() == 1
    assert "out of range" in page.locator(f"{UNIT}{LOW} > .ctrlgen-error").inner_text()
    assert number(page, LOW).get_attribute("aria-invalid") == "true"
    number(page, LOW).fill("99")
    page.wait_for_selector(f"{UNIT}{LOW}:not(.ctrlgen-wrong)")
    assert page.locator(f"{UNIT}{LOW} > .ctrlgen-error").count() == 0


def test_what_is_typed_while_a_model_is_read_counts(
    page: Any, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the server was made from older values."""
    answers = [each.fn for each in app.app.fns if getattr(each.fn, "__module__", "").endswith(".families")]
    known = answers[0].__globals__
    asked, goes_on = Event(), Event()
    family_of = known["family_of"]

    def slow(model: Any) -> str:
        asked.set()
        goes_on.wait(60)
        return str(family_of(model))

    chosen_canny(page)
    monkeypatch.setitem(known, "family_of", slow)
    choose(page, "model", EDGES)
    assert asked.wait(60)
    number(page, LOW).fill("50")
    has_values(page, {LOW: 50})
    goes_on.set()
    page.wait_for_selector(f"{UNIT}control_lora_transparent select", state="attached")
    has_values(page, {LOW: 50})
    shows(page, LOW, "50")


def test_choices_and_values_are_the_same_in_another_language(chromium: Any, app: Any) -> None:
    words = json.loads((ROOT / "localizations" / "de_DE.json").read_text("utf-8"))
    words |= {"linear": "gerade", "ease in": "sanft"}  # as other languages of the WebUI have them
    with bare_page(chromium, app.address, json.dumps(words)) as page:
        opened(page)
        chosen_canny(page)
        page.wait_for_selector(f"{UNIT}{LOW} >> text={words['Canny low threshold']}")
        assert page.locator(f"{UNIT}{LOW}").get_attribute("title") == words["Canny low threshold"]
        choose(page, "model", ADAPTER)
        kinds, scaling = (f"{UNIT}ip_adapter_{name} select" for name in ("weight_type", "embeds_scaling"))
        page.wait_for_selector(kinds, state="visible")
        page.wait_for_function(f"document.querySelector('{kinds}').selectedOptions[0].text === 'gerade'")
        page.locator(kinds).select_option(index=1)
        has_values(page, {"ip_adapter_weight_type": "ease in"})
        page.evaluate(OPEN, f"{UNIT}more .label-wrap:not(.open)")
        page.locator(scaling).select_option(index=3)
        translated = f"document.querySelector('{scaling}').selectedOptions[0].text.includes('mit C-Strafe')"
        page.wait_for_function(translated)
        scaled = {"ip_adapter_embeds_scaling": "K+mean(V) w/ C penalty"}
        has_values(page, {"ip_adapter_weight_type": "ease in", **scaled})
        page.locator(kinds).select_option(index=0)
        has_values(page, scaled)
        assert not page.errors


BARE = """() => [...document.querySelectorAll('.ctrlgen-param :is(input, select)')]
    .filter((field) => !field.closest('[title]:not([title=""])')
        || !(field.labels[0]?.textContent.trim() || field.getAttribute('aria-label')))
    .map((field) => field.closest('.ctrlgen-param').id)"""


def test_every_parameter_has_a_tooltip_and_a_label_and_no_faults_that_axe_finds(page: Any) -> None:
    choose(page, "preprocessor", "canny | normal_dsine | openpose_json")
    page.wait_for_selector(f"{UNIT}openpose_json_hands", state="visible")
    for model, own in ((EDGES, "control_lora_transparent"), (ADAPTER, "ip_adapter_weight_type")):
        choose(page, "model", model)
        page.wait_for_selector(f"{UNIT}{own} select", state="attached")
        page.evaluate(OPEN, f"{UNIT}more .label-wrap:not(.open)")
        page.wait_for_selector(f"{UNIT}{own} select", state="visible")
        page.wait_for_function(SETTLED)
        assert page.evaluate(BARE) == []
        for theme in ("dark", "light"):
            page.evaluate(THEME, theme)
            assert faults(page, ".ctrlgen-params") == [], theme
