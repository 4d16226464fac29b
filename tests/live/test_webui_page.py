"""The page of the real WebUI in a browser. Needs playwright and a Chromium (CHROMIUM, /usr/bin/chromium).

Screenshots are written to CTRLGEN_SCREENSHOTS when it is set.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import EDGES, SIZE, WebUI, scene
from tests.support.browser_page import (
    PATIENCE,
    choose,
    fill,
    fill_unit,
    generate,
    open_panel,
    opened_page,
    press,
    ready,
    reveal,
    shot,
    thumbnails,
    unit,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def page(webui: WebUI) -> Iterator[Any]:
    with opened_page(webui.url) as opened:
        yield opened


def test_a_filled_panel_makes_a_controlled_picture_and_comes_back(page: Any, tmp_path: Path) -> None:
    open_panel(page)
    shot(page, "panel-empty")
    fill_unit(page, tmp_path)
    label = page.locator("#ctrlgen_txt2img_panel > .label-wrap > span").first
    assert "1 unit on" in label.inner_text()

    press(page, "#ctrlgen_txt2img_show_plan")
    page.wait_for_selector("#ctrlgen_txt2img_plan svg")
    assert "4 steps" in page.locator("#ctrlgen_txt2img_plan").first.inner_text()
    press(page, unit("show_map"))
    page.wait_for_selector(f"{unit('map')} img")
    shot(page, "panel-filled")

    generate(page)
    shot(page, "generated")
    assert thumbnails(page) == 2
    info = page.locator("#html_info_txt2img").first.inner_text()
    assert "CtrlGen" in info

    page.locator(f"{unit('enabled')} input").uncheck()
    fill(page, f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input", "")
    choose(page, "preprocessor", "none")
    fill(page, "#txt2img_prompt textarea", info)
    page.click("#paste")
    page.wait_for_timeout(3000)
    shot(page, "pasted")
    assert page.locator(f"{unit('enabled')} input").is_checked()
    schedule = page.locator(f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input").first
    assert schedule.input_value() == "1@0, 0.6@0.4, 0@1"
    assert page.locator(f"{unit('preprocessor')} input").first.input_value() == "canny"
    assert page.locator(f"{unit('model')} input").first.input_value() == "ctrlgen-tiny-edges"
    assert "ctrlgen-tiny-edges [" in info


def concept(name: str, index: int) -> str:
    return f"#ctrlgen_txt2img_concept{index}_{name}"


def blend_mode(page: Any, title: str) -> Any:
    reveal(page, "#ctrlgen_txt2img_blend_mode label")
    return page.locator("#ctrlgen_txt2img_blend_mode label", has_text=title)


def fill_blend(page: Any) -> None:
    open_panel(page)
    page.locator(f"{unit('enabled')} input").uncheck()
    blend_mode(page, "Prediction").click()
    for index, (prompt, weight) in enumerate((("a red circle", "1>0"), ("a blue square", "0>1"))):
        page.locator(f"{concept('used', index)} input").check()
        for name, text in (("prompt", prompt), ("weight", weight)):
            fill(page, f"{concept(name, index)} textarea, {concept(name, index)} input", text)
    fill(page, "#txt2img_prompt textarea", "")


def test_the_blend_tab_makes_a_picture_and_comes_back(page: Any) -> None:
    fill_blend(page)
    press(page, "#ctrlgen_txt2img_show_plan")
    page.wait_for_selector("#ctrlgen_txt2img_plan svg")
    assert "U-Net rows per step and picture: 3" in page.locator("#ctrlgen_txt2img_plan").first.inner_text()
    shot(page, "blend")
    generate(page)
    info = page.locator("#html_info_txt2img").first.inner_text()
    assert "a blue square" in info
    blend_mode(page, "Off").click()
    fill(page, "#txt2img_prompt textarea", info)
    page.click("#paste")
    page.wait_for_timeout(3000)
    assert blend_mode(page, "Prediction").locator("input").is_checked()
    weight = page.locator(f"{concept('weight', 0)} textarea, {concept('weight', 0)} input").first
    assert weight.input_value() == "1@0, 0@1"


def test_a_mask_is_painted(page: Any) -> None:
    fill_blend(page)
    canvas = page.locator(f"{concept('painted', 0)} canvas").last
    if not canvas.is_visible():
        reveal(page, f"{concept('painted', 0)} canvas")
        page.wait_for_timeout(1500)
    generate(page)
    assert "sha:" not in page.locator("#html_info_txt2img").first.inner_text()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.7, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1500)
    shot(page, "painted")
    generate(page)
    assert "sha:" in page.locator("#html_info_txt2img").first.inner_text()


def test_the_button_draws_a_map(page: Any) -> None:
    fill_blend(page)
    for index in range(2):
        fill(page, f"{concept('weight', index)} textarea, {concept('weight', index)} input", "1")
    press(page, "#ctrlgen_txt2img_draw_map")
    page.wait_for_selector("#txt2img_interrupt", state="visible")
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    page.wait_for_timeout(2500)
    shot(page, "map")
    assert thumbnails(page) >= 6  # five pictures and their sheet
    blend_mode(page, "Off").click()


def test_the_tuner_is_in_the_dropdown(page: Any, tmp_path: Path) -> None:
    fill_unit(page, tmp_path)
    fill(page, f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input", "")
    scripts = page.locator("#tab_txt2img #script_list input").first
    scripts.click()
    page.locator("#tab_txt2img #script_list ul li", has_text="CtrlGen X/Y tuner").first.click()
    page.wait_for_timeout(1000)
    page.set_default_timeout(30_000)
    box = "#script_txt2img_ctrlgen_xy_tuner"
    place = page.locator(f"{box}_x_path input").first
    place.fill("Unit 0 weight")
    place.press("Enter")
    fill(page, f"{box}_x_values textarea, {box}_x_values input", "0, 0.5, 1")
    page.set_default_timeout(PATIENCE)
    generate(page)
    shot(page, "tuner")
    assert thumbnails(page) == 4  # the sheet and its cells
    assert "Recommended" in page.locator("#html_log_txt2img").first.inner_text()
    page.set_default_timeout(30_000)
    send = f"{box}_send"
    page.locator("#txt2img_gallery .thumbnails .thumbnail-item").nth(0).click()
    page.click(send)
    page.wait_for_timeout(1000)
    assert "Select a cell" in page.locator(send).first.inner_text()
    page.locator("#txt2img_gallery .thumbnails .thumbnail-item").nth(2).click()
    page.wait_for_timeout(500)
    page.click(send)
    page.wait_for_timeout(4000)
    shot(page, "tuner_sent")
    assert page.locator(f"{unit('weight')} input[type=number]").first.input_value() == "0.5"
    page.set_default_timeout(PATIENCE)
    scripts.click()
    page.locator("#tab_txt2img #script_list ul li", has_text="None").first.click()
    page.wait_for_timeout(500)


def test_a_mistake_is_shown_in_the_page_and_makes_no_picture(page: Any, tmp_path: Path) -> None:
    fill_unit(page, tmp_path)
    fill(page, f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input", "1@0, nonsense")
    press(page, "#ctrlgen_txt2img_show_plan")
    page.wait_for_selector("#ctrlgen_txt2img_plan .ctrlgen-error")
    generate(page)
    shot(page, "mistake")
    assert "Unit 0, Weight schedule: " in page.locator("#html_log_txt2img").first.inner_text()
    assert thumbnails(page) == 0


def test_a_mistake_that_is_found_while_sampling_is_shown_in_the_page(
    page: Any, webui: WebUI, damaged: str, tmp_path: Path
) -> None:
    """A network that is not finite: a comment, not the WebUI's error with a traceback."""
    fill_unit(page, tmp_path)
    press(page, unit("refresh"))
    page.wait_for_timeout(2000)
    choose(page, "model", damaged)
    generate(page)
    said = page.locator("#html_log_txt2img").first.inner_text()
    assert "CtrlGen: Unit 0" in said
    assert "RequestError" not in said
    assert thumbnails(page) == 0
    choose(page, "model", EDGES["model"])
    generate(page)
    assert thumbnails(page) == 2


def test_a_unit_may_use_the_img2img_picture(page: Any, tmp_path: Path) -> None:
    scene().save(tmp_path / "init.png")
    page.locator("#tabs > .tab-nav button", has_text="img2img").first.click()
    page.locator("#img2img_image input[type=file]").first.set_input_files(str(tmp_path / "init.png"))
    for name, value in (("width", SIZE), ("height", SIZE), ("steps", 8)):
        fill(page, f"#img2img_{name} input[type=number]", str(value))
    page.locator("#ctrlgen_img2img_panel > .label-wrap").click()
    page.wait_for_timeout(1000)
    page.locator("#ctrlgen_img2img_unit0_picture_menu > .label-wrap").click()
    page.wait_for_timeout(500)
    for name in ("enabled", "use_init_image"):
        page.locator(f"#ctrlgen_img2img_unit0_{name} input").check()
    model = "#ctrlgen_img2img_unit0_model"
    press(page, f"{model} input >> nth=0")
    page.locator(f"{model} ul li", has_text=EDGES["model"]).first.click()
    press(page, "#ctrlgen_img2img_show_plan")
    page.wait_for_selector("#ctrlgen_img2img_plan svg")
    # 8 steps at denoising strength 0.75 are 7 calls
    assert "7 steps" in page.locator("#ctrlgen_img2img_plan").first.inner_text()
    page.click("#img2img_generate")
    page.wait_for_selector("#img2img_interrupt", state="visible")
    page.wait_for_selector("#img2img_interrupt", state="hidden")
    page.wait_for_timeout(2500)
    shot(page, "img2img")
    assert page.locator("#img2img_gallery .thumbnails .thumbnail-item").count() == 2
    page.locator("#tabs > .tab-nav button", has_text="txt2img").first.click()


def test_the_panel_works_after_a_reload_of_the_interface(page: Any, tmp_path: Path) -> None:
    page.get_by_role("link", name="Reload UI").click()
    page.wait_for_timeout(8000)
    ready(page)
    fill_unit(page, tmp_path)
    generate(page)
    shot(page, "after-reload")
    assert thumbnails(page) == 2


def test_the_tiny_model_is_installed_and_its_size_is_set(page: Any) -> None:
    open_panel(page)
    note = page.locator("#ctrlgen_txt2img_tiny_note p")
    fill(page, "#txt2img_width input[type=number]", "512")
    note.wait_for(state="visible")
    shot(page, "tiny-note")
    page.locator("#ctrlgen_txt2img_tiny > .label-wrap").click()
    page.click("#ctrlgen_txt2img_tiny_install")
    page.wait_for_selector("#ctrlgen_txt2img_tiny_install_said p")
    shot(page, "tiny")
    page.click("#ctrlgen_txt2img_tiny_use")
    note.wait_for(state="hidden", timeout=60_000)
    wanted = {"width": "128", "height": "128", "steps": "20", "cfg_scale": "4"}
    found = {name: page.locator(f"#txt2img_{name} input[type=number]").input_value() for name in wanted}
    assert found == wanted
    ready(page)


def test_a_family_shows_its_own_fields(page: Any) -> None:
    """What is hidden is emptied: a preprocessor of a ControlNet is not sent with StyleAligned."""
    open_panel(page)
    choose(page, "model", EDGES["model"])
    choose(page, "preprocessor", "canny")
    page.wait_for_selector(unit("canny_low_threshold"), state="visible")
    choose(page, "model", "StyleAligned")
    page.wait_for_selector(unit("image"), state="hidden")
    page.wait_for_selector(unit("more"), state="visible")
    for hidden in ("preprocessor", "canny_low_threshold", "control_mode", "boxes", "save_face"):
        page.wait_for_selector(unit(hidden), state="hidden")
    shot(page, "style-aligned")
    choose(page, "model", EDGES["model"])
    page.wait_for_selector(unit("image"), state="visible")
    assert page.locator(f"{unit('preprocessor')} input").first.input_value() == "none"
