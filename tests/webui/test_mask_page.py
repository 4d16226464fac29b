"""The mask editor, the tabs of fields and the recipes in a plain gradio app, by mouse and by keyboard."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.recipes.library import Library
from tests.support.bare_webui import bare_app, bare_page, picture_file
from tests.support.recipes import recipe

PANEL = "#ctrlgen_txt2img_panel"
UNIT = "#ctrlgen_txt2img_unit0_"
STAGE = ".ctrlgen-mask-stage"
RECIPE = "#ctrlgen_txt2img_recipe_"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("webui")


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[Any]:
    with bare_app(folder) as made:
        Library(folder / "ctrlgen-recipes").save("chair", recipe(result="blue"))
        yield made


@pytest.fixture
def page(chromium: Any, app: Any) -> Iterator[Any]:
    with bare_page(chromium, app.address) as opened:
        opened.click(f"{PANEL} > .label-wrap")
        opened.wait_for_selector(f"{UNIT}enabled", state="visible")
        yield opened
        assert not opened.errors


def tab(page: Any, name: str) -> Any:
    return page.locator(f"{UNIT}advanced > .tab-nav > button", has_text=name)


def opened_editor(page: Any, folder: Path) -> None:
    page.locator(f"{UNIT}image input[type=file]").set_input_files(picture_file(folder))
    page.wait_for_selector(f"{UNIT}image img")
    page.click(f"{UNIT}details > .label-wrap")
    tab(page, "Mask").click()
    page.click(".ctrlgen-mask .ctrlgen-add")
    page.wait_for_selector(f"{STAGE} canvas")


def painted(page: Any, x: float, y: float) -> int:
    """The value of the unit's mask at a place in shares of the picture, 0 without a mask."""
    source = page.evaluate(f"(document.querySelector('{UNIT}mask img') || {{src: ''}}).src")
    if not source:
        return 0
    data = base64.b64decode(source.partition(",")[2])
    image = Image.open(io.BytesIO(data)).convert("L")
    value = image.getpixel((round(x * (image.width - 1)), round(y * (image.height - 1))))
    assert isinstance(value, int)
    return value


def settled(page: Any, text: str) -> None:
    page.wait_for_function(
        "(text) => document.querySelector('.ctrlgen-mask .ctrlgen-note').textContent.includes(text)", arg=text
    )
    page.wait_for_timeout(400)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.locator(STAGE).scroll_into_view_if_needed()
    box = page.locator(STAGE).bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def test_a_mask_is_painted_erased_inverted_and_undone_by_mouse(page: Any, tmp_path: Path) -> None:
    opened_editor(page, tmp_path)
    drag(page, (0.2, 0.5), (0.8, 0.5))
    settled(page, "The unit acts on")
    page.wait_for_selector(f"{UNIT}mask img")
    assert (painted(page, 0.5, 0.5), painted(page, 0.5, 0.9)) == (255, 0)
    page.click("[data-tool=eraser]")
    drag(page, (0.5, 0.3), (0.5, 0.7))
    settled(page, "The unit acts on")
    assert (painted(page, 0.5, 0.5), painted(page, 0.25, 0.5)) == (0, 255)
    page.click("[data-tool=invert]")
    settled(page, "The unit acts on")
    assert (painted(page, 0.5, 0.5), painted(page, 0.25, 0.5), painted(page, 0.5, 0.95)) == (255, 0, 255)
    for _ in range(3):
        page.click("[data-tool=undo]")
    settled(page, "Nothing is painted")
    page.wait_for_selector(f"{UNIT}mask img", state="detached")
    page.click("[data-tool=redo]")
    settled(page, "The unit acts on")
    assert painted(page, 0.5, 0.5) == 255


def test_a_mask_is_painted_by_keyboard_and_its_feather_is_shown(page: Any, tmp_path: Path) -> None:
    opened_editor(page, tmp_path)
    page.locator(STAGE).focus()
    page.keyboard.press("Space")
    settled(page, "The unit acts on")
    page.wait_for_selector(f"{UNIT}mask img")
    assert (painted(page, 0.5, 0.5), painted(page, 0.75, 0.5)) == (255, 0)
    for _ in range(14):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Control+z")
    settled(page, "The unit acts on")
    assert (painted(page, 0.75, 0.5), painted(page, 0.85, 0.5)) == (255, 0)
    page.keyboard.press("i")
    settled(page, "The unit acts on")
    assert painted(page, 0.5, 0.5) == 0
    page.locator(f"{UNIT}mask_feather input[type=number]").fill("32")
    page.locator(".ctrlgen-mask input[type=checkbox]").check()
    page.wait_for_function(f"document.querySelector('{STAGE} canvas').style.filter.startsWith('blur')")
    page.locator(STAGE).focus()
    page.keyboard.press("Escape")
    page.wait_for_selector(STAGE, state="detached")


def test_a_mask_from_elsewhere_is_what_is_painted_on(page: Any, tmp_path: Path) -> None:
    opened_editor(page, tmp_path)
    half = Image.new("L", (64, 64), "black")
    half.paste(255, (0, 0, 32, 64))
    half.save(tmp_path / "half.png")
    page.locator(f"{UNIT}mask input[type=file]").set_input_files(str(tmp_path / "half.png"))
    page.wait_for_selector(f"{UNIT}mask img")
    page.wait_for_timeout(1200)
    drag(page, (0.9, 0.1), (0.9, 0.12))
    settled(page, "The unit acts on")
    assert [painted(page, *place) for place in ((0.2, 0.5), (0.7, 0.5), (0.9, 0.1))] == [255, 0, 255]


def test_tabs_without_fields_are_hidden(page: Any) -> None:
    page.click(f"{UNIT}details > .label-wrap")
    tab(page, "Mask").click()
    page.locator(f"{UNIT}model input").first.click()
    page.locator(f"{UNIT}model ul li", has_text="ReVision").first.click()
    tab(page, "Mask").wait_for(state="hidden")
    for name in ("Batch", "Mode"):
        tab(page, name).wait_for(state="hidden")
    assert tab(page, "Weight").is_visible()
    assert "selected" in (tab(page, "Weight").get_attribute("class") or "")


def note(page: Any, text: str) -> None:
    page.wait_for_function(
        "([id, text]) => document.querySelector(id).innerText.includes(text)", arg=[f"{RECIPE}note", text]
    )


def test_a_recipe_is_renamed_and_deleted_after_a_question(page: Any, folder: Path) -> None:
    library = Library(folder / "ctrlgen-recipes")
    page.locator("#ctrlgen_txt2img_tabs > .tab-nav > button", has_text="Recipes").click()
    page.click(f"{RECIPE}refresh")
    note(page, "1 recipes")
    page.locator(f"{RECIPE}name input").first.click()
    page.locator(f"{RECIPE}name ul li", has_text="chair").first.click()
    page.locator(f"{RECIPE}new_name :is(textarea, input)").fill("../chair")
    page.click(f"{RECIPE}rename")
    note(page, "cannot be used as a name")
    page.locator(f"{RECIPE}new_name :is(textarea, input)").fill("armchair")
    page.locator(f"{RECIPE}rename").focus()
    page.keyboard.press("Enter")
    note(page, "Renamed 'chair' to 'armchair'")
    assert library.names() == ["armchair"]
    answers = iter(["dismiss", "accept"])
    page.on("dialog", lambda dialog: getattr(dialog, next(answers))())
    page.click(f"{RECIPE}delete")
    note(page, "Nothing was deleted")
    assert library.names() == ["armchair"]
    page.click(f"{RECIPE}delete")
    note(page, "Deleted 'armchair'")
    assert library.names() == []
