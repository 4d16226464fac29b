"""From a picture to a controlled generation in three clicks, in the real WebUI, by mouse and by keyboard.

Needs playwright and a Chromium. Screenshots are written to CTRLGEN_SCREENSHOTS when it is set.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import EDGES, WebUI, scene
from tests.support.browser_page import (
    choose,
    generate,
    open_panel,
    opened_page,
    press,
    reveal,
    shot,
    thumbnails,
    unit,
)

pytestmark = pytest.mark.live
WAIT = 2500  # ms in which the server answers a choice
WIDTHS = (1400, 1000, 600)
OPEN = "(heads) => document.querySelectorAll(heads).forEach((head) => head.offsetParent && head.click())"
WIDER = "(panel) => panel.scrollWidth - panel.clientWidth"
CLOSED = "#ctrlgen_txt2img_panel .label-wrap:not(.open)"


@pytest.fixture(scope="module")
def shared(webui: WebUI) -> Iterator[Any]:
    with opened_page(webui.url) as opened:
        yield opened


@pytest.fixture
def page(shared: Any, tmp_path: Path) -> Any:
    """The page with a photo in unit 0, which is off and has no model."""
    shared.set_default_timeout(60_000)
    shared.set_viewport_size({"width": 1500, "height": 2200})
    open_panel(shared)
    noise = np.random.default_rng(0).integers(0, 60, (96, 96, 3), dtype=np.uint8)
    photo = np.asarray(scene(96).convert("RGB"), dtype=np.uint8) // 2 + noise
    Image.fromarray(photo).save(tmp_path / "photo.png")
    shared.locator(f"{unit('enabled')} input").uncheck()
    choose(shared, "model", "None")
    choose(shared, "preprocessor", "none")
    if shared.locator(f"{unit('image')} button[aria-label=Clear]").count():
        shared.locator(f"{unit('image')} button[aria-label=Clear]").click()
    shared.locator(f"{unit('image')} input[type=file]").set_input_files(str(tmp_path / "photo.png"))
    shared.wait_for_selector(f"{unit('image')} img")
    shared.wait_for_timeout(WAIT)
    return shared


def kind(page: Any, label: str) -> Any:
    return page.locator(f"{unit('kind')} label", has_text=label).first


LINE = f"{unit('panel')} .ctrlgen-chosen"


def says(page: Any, text: str) -> None:
    """Wait until the line below the strength begins with a text."""
    page.locator(LINE, has_text=re.compile(f"^{re.escape(text)}")).wait_for()


def units(page: Any) -> Any:
    """The units in the infotext of the generated picture."""
    text = page.locator("#html_info_txt2img").first.inner_text()
    (entry,) = re.findall(r'CtrlGen: ("(?:\\.|[^"\\])*")', text)
    return json.loads(json.loads(entry))["units"]


def test_a_picture_and_a_kind_are_enough(page: Any) -> None:
    kind(page, "Edges").click()
    says(page, f"{EDGES['model']} · canny · weight 1 · 0 % to 80 % of the steps")
    assert page.locator(f"{unit('enabled')} input").is_checked()
    shot(page, "clicks-kind")
    generate(page)
    assert thumbnails(page) == 2
    (made,) = units(page)
    assert (made["model"].partition(" ")[0], made["preprocessor"]) == (EDGES["model"], "canny")
    assert made["guidance_end"] == 0.8


def test_undo_restores_what_was_chosen_before(page: Any) -> None:
    before = page.locator(LINE).inner_text()
    kind(page, "Style").click()
    says(page, "ctrlgen-tiny-ip · no preprocessor · weight 0.8 · 20 %")
    page.click(unit("kind_undo"))
    says(page, before)
    assert not page.locator(f"{unit('enabled')} input").is_checked()
    assert not page.locator(unit("kind_undo")).is_visible()


def test_kind_and_strength_by_keyboard_without_a_request_for_the_strength(page: Any) -> None:
    page.locator(f"{unit('kind')} input").first.focus()
    page.keyboard.press("Space")
    says(page, EDGES["model"])
    page.wait_for_timeout(WAIT)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.on("websocket", lambda socket: sent.append(socket.url))
    page.locator(f"{unit('strength')} input[type=range]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    says(page, f"{EDGES['model']} · canny · weight 0.7 · 0 % to 50 %")
    assert page.locator(unit("strength_low")).get_attribute("aria-pressed") == "true"
    page.locator(unit("strength_high")).focus()
    page.keyboard.press("Enter")
    says(page, f"{EDGES['model']} · canny · weight 1 · 0 % to 100 %")
    assert sent == []


def test_what_is_wrong_is_said_at_once_with_a_button(page: Any) -> None:
    choose(page, "model", EDGES["model"])
    page.wait_for_timeout(WAIT)
    shot(page, "clicks-advice")
    said = page.locator(f"{unit('panel')} .ctrlgen-advice-text:visible")
    assert "but is off" in said.nth(0).inner_text()
    page.click(unit("advice_switch_on"))
    page.click(unit("advice_preprocessor"))
    said.first.wait_for(state="hidden")
    assert page.locator(f"{unit('preprocessor')} input").first.input_value() == "canny"
    page.locator(f"{unit('image')} button[aria-label=Clear]").click()
    page.wait_for_timeout(WAIT)
    assert "has no picture" in said.inner_text()


def test_a_unit_acts_after_the_checkpoint_was_changed_in_the_page(
    page: Any, webui: WebUI, same_checkpoint_family: str
) -> None:
    before = webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
    kind(page, "Edges").click()
    says(page, f"{EDGES['model']} · canny · weight 1")
    try:
        for name in (same_checkpoint_family, before):
            choose_checkpoint(page, webui, name.partition(" ")[0])
            says(page, f"{EDGES['model']} · canny · weight 1")
            generate(page)
            (made,) = units(page)
            assert made["model"].partition(" ")[0] == EDGES["model"]
            stem = Path(name.partition(" ")[0]).stem
            assert f"Model: {stem}" in page.locator("#html_info_txt2img").first.inner_text()
    finally:
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


def choose_checkpoint(page: Any, webui: WebUI, name: str) -> None:
    """Choose a checkpoint at the top of the page, and wait until the WebUI has it."""
    press(page, "#setting_sd_model_checkpoint input >> nth=0")
    page.locator("#setting_sd_model_checkpoint ul li", has_text=name).first.click()
    for _ in range(60):
        page.wait_for_timeout(500)
        if webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"].startswith(name):
            return
    raise AssertionError(f"the WebUI did not take the checkpoint {name}")


def test_the_panel_is_short_when_everything_is_open(page: Any) -> None:
    kind(page, "Edges").click()
    for _ in range(3):
        page.evaluate(OPEN, CLOSED)
        page.wait_for_timeout(1500)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 2200})
        page.wait_for_timeout(1000)
        shot(page, f"clicks-{width}")
        box = page.locator("#ctrlgen_txt2img_panel").bounding_box()
        assert box["height"] < 2500  # 2,307 at 600 px
        wide = page.locator("#ctrlgen_txt2img_panel").evaluate(WIDER)
        assert wide <= 1


def test_concepts_are_added_one_by_one(page: Any) -> None:
    reveal(page, "#ctrlgen_txt2img_concept_add")
    shown = page.locator("#ctrlgen_txt2img_blend .ctrlgen-concept:visible")
    count = shown.count()
    press(page, "#ctrlgen_txt2img_concept_add")
    assert shown.count() == count + 1
    box = page.locator(f"#ctrlgen_txt2img_concept{count}_used input")
    assert box.is_checked()
    box.uncheck()


def test_every_field_of_a_unit_has_a_tooltip(page: Any) -> None:
    open_panel(page)
    bare = page.locator(f"{unit('panel')} [id^=ctrlgen_txt2img_unit0_]").evaluate_all(
        """(parts) => parts.filter((part) => part.offsetParent && part.querySelector("input, textarea"))
        .filter((part) => !part.title && !part.querySelector("[title]")).map((part) => part.id)"""
    )
    groups = ("panel", "details", "advanced", "kind", "curve", "more", "reference_area")
    assert [each for each in bare if not each.endswith(groups)] == []
