"""Errors at their fields in the real WebUI's page, by mouse. Needs playwright and a Chromium.

Screenshots are written to CTRLGEN_SCREENSHOTS when it is set.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import EDGES, WebUI, encoded
from tests.support.browser_page import (
    choose,
    fill,
    fill_unit,
    generate,
    open_panel,
    opened_page,
    ready,
    shot,
    thumbnails,
    unit,
)
from tests.support.control_families import SDXL, installed

pytestmark = pytest.mark.live
SCHEDULE = f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input"
WRONG = ".ctrlgen-wrong"


@pytest.fixture(scope="module")
def page(webui: WebUI) -> Iterator[Any]:
    with opened_page(webui.url) as opened:
        opened.set_default_timeout(60_000)
        yield opened


@pytest.fixture
def filled(page: Any, tmp_path: Path) -> Iterator[Any]:
    """The page with a unit that makes a picture, and no other unit."""
    open_panel(page)
    page.locator("#ctrlgen_txt2img_tabs > .tab-nav > button").nth(0).click()
    fill_unit(page, tmp_path)
    yield page
    page.locator("#ctrlgen_txt2img_tabs > .tab-nav > button").nth(0).click()
    fill(page, SCHEDULE, "")
    page.locator(f"{unit('enabled', 1)} input").evaluate("(box) => box.checked && box.click()")


def log(page: Any) -> str:
    return str(page.locator("#html_log_txt2img").first.inner_text())


def listed(page: Any) -> list[str]:
    return list(page.locator("#ctrlgen_txt2img_errors button").all_inner_texts())


def marked(page: Any, field: str) -> str:
    """What is said below a field that is marked and to be seen."""
    page.wait_for_selector(f"{field}{WRONG}", state="visible")
    return str(page.locator(f"{field} > .ctrlgen-error").inner_text())


def refused(page: Any) -> None:
    """Press Generate: no picture is made."""
    page.locator("#txt2img_generate").focus()
    generate(page)
    assert thumbnails(page) == 0


def test_a_wrong_weight_is_marked_until_it_is_changed(filled: Any) -> None:
    page = filled
    fill(page, SCHEDULE, "1@0, nonsense")
    page.locator("#ctrlgen_txt2img_tabs [data-action=add]").click()  # the second unit's tab is shown
    refused(page)
    assert "CtrlGen: Unit 0, Weight schedule: expected a value" in log(page)
    assert "$.units" not in log(page)
    assert "1@0, 1@0.3" in marked(page, unit("weight_schedule"))
    shot(page, "errors-weight")
    assert len(listed(page)) == 1
    assert page.locator(SCHEDULE).first.get_attribute("aria-invalid") == "true"
    assert page.locator(".ctrlgen-failed:visible").count() == 1
    fill(page, SCHEDULE, "1@0, 0@1")
    page.wait_for_selector(WRONG, state="detached")
    assert listed(page) == []
    assert page.locator(".ctrlgen-failed").count() == 0
    generate(page)
    assert thumbnails(page) == 2


def test_every_unit_says_what_is_wrong_with_it(filled: Any) -> None:
    page = filled
    fill(page, SCHEDULE, "1@0 smoth, 0@1")
    page.locator(f"{unit('enabled', 1)} input").evaluate("(box) => box.click()")
    page.wait_for_timeout(500)
    refused(page)
    first, second = listed(page)
    assert first.startswith("Unit 0, Weight schedule: unknown easing 'smoth' (nearest: smooth")
    assert second.startswith("Unit 1, Model: choose a model")
    assert page.locator(".ctrlgen-failed:visible").count() == 2
    page.locator("#ctrlgen_txt2img_errors button").nth(1).click()
    assert "switch the unit off" in marked(page, unit("model", 1))
    shot(page, "errors-two")
    page.locator("#ctrlgen_txt2img_tabs > .tab-nav > button").nth(0).click()


def test_a_missing_picture_is_marked_by_the_preview_and_by_generate(filled: Any) -> None:
    page = filled
    page.locator(f"{unit('image')} button[aria-label='Clear'], {unit('image')} [title='Clear']").first.click()
    page.wait_for_timeout(500)
    page.click(unit("show_map"))
    assert marked(page, unit("image")) == "Choose a picture first."
    refused(page)
    assert "A unit needs a picture" in marked(page, unit("image"))
    shot(page, "errors-picture")


def test_a_model_of_another_family_is_marked_with_those_that_fit(
    filled: Any, webui: WebUI, webui_root: Path
) -> None:
    page = filled
    with installed(webui_root, "ctrlgen-sdxl.safetensors", {"xl-diffusers": SDXL["xl-diffusers"]}) as names:
        page.click(unit("refresh"))
        page.wait_for_timeout(2000)
        choose(page, "model", names["xl-diffusers"])
        refused(page)
    said = marked(page, unit("model"))
    assert "but the loaded checkpoint is" in said
    assert EDGES["model"] in said
    shot(page, "errors-model")
    choose(page, "model", EDGES["model"])
    page.wait_for_selector(WRONG, state="detached")


def test_missing_weights_are_marked_and_offered(filled: Any) -> None:
    page = filled
    choose(page, "preprocessor", "openpose_full")
    refused(page)
    assert "Unit 0, Preprocessor: " in log(page)
    assert marked(page, unit("preprocessor"))
    page.wait_for_selector(unit("missing"), state="visible")
    shot(page, "errors-weights")


def test_an_unreadable_mask_is_marked_in_its_accordion(filled: Any, tmp_path: Path) -> None:
    page = filled
    (tmp_path / "mask.png").write_text("no picture")
    page.locator(f"{unit('masks')} input[type=file]").set_input_files(str(tmp_path / "mask.png"))
    page.wait_for_timeout(2000)
    refused(page)
    assert "mask.png" in marked(page, unit("masks"))
    assert page.locator(unit("masks")).is_visible()
    shot(page, "errors-mask")
    page.locator(f"{unit('masks')} button[aria-label='Clear'], {unit('masks')} [title='Clear']").first.click()
    page.wait_for_selector(WRONG, state="detached")


def test_a_wrong_concept_is_marked_where_it_is(filled: Any) -> None:
    page = filled
    blend = "#ctrlgen_txt2img_blend_mode"
    page.locator(f"{blend} input[value=prediction]").evaluate("(radio) => radio.click()")
    for index in range(2):
        used = page.locator(f"#ctrlgen_txt2img_concept{index}_used input")
        used.evaluate("(box) => box.checked || box.click()")
    weight = "#ctrlgen_txt2img_concept1_weight"
    text = page.locator(f"{weight} textarea, {weight} input").first
    text.evaluate("(field) => { field.value = 'x'; updateInput(field); }")
    page.wait_for_timeout(500)
    refused(page)
    assert "Concept 1, Weight: expected a value" in log(page)
    assert marked(page, weight)
    shot(page, "errors-concept")
    page.locator(f"{blend} input[value=off]").evaluate("(radio) => radio.click()")
    page.wait_for_timeout(500)


def test_a_warning_is_shown_at_its_field(filled: Any) -> None:
    page = filled
    fill(page, SCHEDULE, "0")
    generate(page)
    assert thumbnails(page) >= 1
    note = page.locator(f"{unit('weight_schedule')} > .ctrlgen-note")
    assert "does nothing" in note.inner_text()
    assert page.locator(WRONG).count() == 0
    info = page.locator("#generation_info_txt2img textarea").input_value()
    assert "CtrlGen marks" not in info.split('"infotexts"')[1].split("]")[0]


def test_an_error_under_a_script_is_marked_too(filled: Any) -> None:
    page = filled
    fill(page, SCHEDULE, "1@0, nonsense")
    scripts = page.locator("#tab_txt2img #script_list input").first
    scripts.click()
    page.locator("#tab_txt2img #script_list ul li", has_text="Prompt matrix").first.click()
    page.wait_for_timeout(500)
    refused(page)
    assert "$.units[0].weight" in log(page)
    assert "Expected a value" in marked(page, unit("weight"))
    scripts.click()
    page.locator("#tab_txt2img #script_list ul li", has_text="None").first.click()


def test_marks_are_readable_in_the_dark(page: Any, webui: WebUI, tmp_path: Path) -> None:
    dark = page.context.browser.new_page(viewport={"width": 1000, "height": 1600})
    dark.goto(f"{webui.url}/?__theme=dark", wait_until="domcontentloaded")
    ready(dark)
    fill_unit(dark, tmp_path)
    fill(dark, SCHEDULE, "1@0, nonsense")
    dark.locator("#txt2img_generate").focus()
    generate(dark)
    shot(dark, "errors-dark")
    note = dark.locator(f"{unit('weight_schedule')} > .ctrlgen-error")
    assert note.evaluate("(note) => getComputedStyle(note).color") == "rgb(252, 165, 165)"
    dark.close()


def test_the_progress_says_what_is_done_before_and_in_the_steps(webui: WebUI) -> None:
    seen: set[str] = set()
    ended = Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(str(webui.get("/sdapi/v1/progress?skip_current_image=true").json()["textinfo"]))

    thread = Thread(target=look)
    thread.start()
    noise = np.random.default_rng(0).integers(0, 256, (12, 256, 256, 3), np.uint8)
    units = [EDGES | {"image": encoded(Image.fromarray(each))} for each in noise]
    answer = webui.generate(*units, width=256, height=256, steps=4)
    ended.set()
    thread.join()
    assert answer.status == 200
    assert any(text.startswith("CtrlGen: ") and text.endswith(" ...") for text in seen), seen
    assert any("computing unit 0" in text or "sampling with unit 0" in text for text in seen), seen
    assert webui.get("/sdapi/v1/progress").json()["textinfo"] is None
