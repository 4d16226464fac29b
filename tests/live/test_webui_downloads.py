"""What the real page says of weights that are missing. It presses no button that downloads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import EDGES, WebUI, scene
from tests.support.browser_page import choose, generate, open_panel, opened_page, reveal, shot, unit

pytestmark = pytest.mark.live
PREPROCESSOR, WEIGHTS = "lineart_coarse", "sk_model2.pth"
BOX = "#ctrlgen_txt2img_unit0_downloads"
TEXT = "#ctrlgen_txt2img_unit0_missing p"


@pytest.fixture
def page(webui: WebUI, webui_root: Path) -> Iterator[Any]:
    if next(webui_root.rglob(WEIGHTS), None) is not None:
        pytest.skip(f"live test: this WebUI has {WEIGHTS}")
    with opened_page(webui.url) as opened:
        open_panel(opened)
        yield opened


def test_a_chosen_preprocessor_offers_its_weights_and_a_failed_generation_does_so_again(
    page: Any, tmp_path: Path
) -> None:
    scene().save(tmp_path / "scene.png")
    choose(page, "model", EDGES["model"])
    choose(page, "preprocessor", PREPROCESSOR)
    page.wait_for_selector(BOX, state="visible")
    said = page.locator(TEXT).first.inner_text()
    assert f"{WEIGHTS} is missing" in said
    assert "17.2 MB" in said
    offline = page.locator(f"{BOX} .ctrlgen-error").count() > 0
    button = page.locator("#ctrlgen_txt2img_unit0_download")
    assert button.is_visible() is not offline
    shot(page, "download-offered")
    page.locator("#ctrlgen_txt2img_unit0_image input[type=file]").set_input_files(str(tmp_path / "scene.png"))
    page.wait_for_selector(f"{unit('image')} img")
    page.locator(f"{unit('enabled')} input").check()
    page.evaluate(f"document.querySelector('{TEXT}').remove()")
    generate(page)
    assert WEIGHTS in page.locator("#html_log_txt2img").first.inner_text()
    page.wait_for_selector(TEXT)
    choose(page, "preprocessor", "canny")
    page.wait_for_selector(BOX, state="hidden")


def test_the_accordion_of_models_offers_any_published_file(page: Any) -> None:
    reveal(page, "#ctrlgen_txt2img_list_models")
    chosen = page.locator("#ctrlgen_txt2img_published input").first
    chosen.fill(WEIGHTS)
    chosen.press("Enter")
    page.wait_for_selector("#ctrlgen_txt2img_published_missing p")
    assert WEIGHTS in page.locator("#ctrlgen_txt2img_published_missing p").first.inner_text()
    shot(page, "download-models")
