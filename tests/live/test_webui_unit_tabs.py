"""The tabs of units in the real WebUI, by mouse and by keyboard; Generate sends what is shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.live.conftest import DEPTH, EDGES, WebUI, scene
from tests.support.browser_page import (
    choose,
    fill,
    generate,
    open_panel,
    opened_page,
    press,
    reveal,
    shot,
    unit,
)

pytestmark = pytest.mark.live
TABS = "#ctrlgen_txt2img_tabs"


@pytest.fixture(scope="module")
def opened(webui: WebUI) -> Iterator[Any]:
    with opened_page(webui.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.set_default_timeout(40_000)
        yield page


@pytest.fixture
def page(opened: Any, tmp_path: Path) -> Any:
    """One unit with edges, on, at strength 0.8."""
    open_panel(opened)
    opened.wait_for_selector(f"{TABS} [data-action=add]")
    opened.locator(f"{TABS} > .tab-nav > button").first.click()
    for _ in tabs(opened):
        act(opened, "remove")
    scene(128).save(tmp_path / "scene.png")
    opened.locator(f"{unit('image')} input[type=file]").set_input_files(str(tmp_path / "scene.png"))
    opened.wait_for_selector(f"{unit('image')} img")
    choose(opened, "model", EDGES["model"])
    choose(opened, "preprocessor", "canny")
    opened.locator(f"{unit('enabled')} input").check()
    fill(opened, f"{unit('weight')} input[type=number]", "0.8")
    return opened


def act(page: Any, name: str) -> None:
    page.locator(f"{TABS} [data-action={name}]").click()
    page.wait_for_timeout(1200)


def note(page: Any, text: str) -> None:
    page.locator(f"{TABS} .ctrlgen-units-note", has_text=text).wait_for()


def tabs(page: Any) -> list[str]:
    """What the shown tabs say to a screen reader."""
    buttons = page.locator(f"{TABS} > .tab-nav > button:visible", has_text="Unit")
    shown = buttons.evaluate_all("all => all.map(b => b.title)")
    return [str(each) for each in shown]


def sent(page: Any) -> list[dict[str, Any]]:
    """The units of a generation, by its infotext."""
    generate(page)
    text = page.locator("#generation_info_txt2img textarea").input_value()
    info = json.loads(text)["infotexts"][0]
    entry = page.evaluate('(text) => JSON.parse(/CtrlGen: ("(?:[^"\\\\]|\\\\.)*")/.exec(text)[1])', info)
    return list(json.loads(entry)["units"])


def second(page: Any) -> None:
    """A second unit with another model and strength."""
    act(page, "duplicate")
    press(page, f"{unit('model', 1)} input >> nth=0")
    page.locator(f"{unit('model', 1)} ul li", has_text=DEPTH["model"]).first.click()
    fill(page, f"{unit('weight', 1)} input[type=number]", "0.4")


def test_tabs_show_what_their_units_are(page: Any) -> None:
    assert tabs(page) == ["Unit 0, Edges, weight 0.8, on"]
    assert page.locator(f"{TABS} .tab-nav .ctrlgen-thumb").first.get_attribute("src").startswith("data:")
    second(page)
    assert tabs(page) == ["Unit 0, Edges, weight 0.8, on", "Unit 1, Depth, weight 0.4, on"]
    shot(page, "units")


def test_units_are_moved_muted_and_removed_and_generate_sends_what_is_shown(page: Any) -> None:
    second(page)
    act(page, "left")
    assert tabs(page) == ["Unit 0, Depth, weight 0.4, on", "Unit 1, Edges, weight 0.8, on"]
    assert [each["weight"] for each in sent(page)] == [0.4, 0.8]
    act(page, "solo")
    assert tabs(page)[1] == "Unit 1, Edges, weight 0.8, muted"
    assert [each["weight"] for each in sent(page)] == [0.4]
    act(page, "solo")
    act(page, "mute")
    assert tabs(page)[0].endswith("muted")
    act(page, "mute")
    act(page, "remove")
    assert tabs(page) == ["Unit 0, Edges, weight 0.8, on"]
    act(page, "undo")
    assert [each["weight"] for each in sent(page)] == [0.4, 0.8]


def test_a_tab_is_dragged_to_another_place(page: Any) -> None:
    second(page)
    page.locator(f"{TABS} > .tab-nav").scroll_into_view_if_needed()
    first, other = (page.locator(f"{TABS} > .tab-nav > button").nth(k).bounding_box() for k in (0, 1))
    page.mouse.move(first["x"] + 12, first["y"] + 12)
    page.mouse.down()
    page.mouse.move(other["x"] + other["width"] - 8, other["y"] + 12, steps=6)
    shot(page, "units-dragged")
    page.mouse.up()
    page.wait_for_timeout(1200)
    assert tabs(page) == ["Unit 0, Depth, weight 0.4, on", "Unit 1, Edges, weight 0.8, on"]


def test_everything_works_by_keyboard(page: Any) -> None:
    page.locator(f"{TABS} > .tab-nav > button").first.click()

    def typed(keys: str) -> list[str]:
        page.keyboard.press(keys)
        page.wait_for_timeout(1200)
        return tabs(page)

    page.locator(f"{TABS} > .tab-nav > button").first.focus()
    assert typed("d")[1] == "Unit 1, Edges, weight 0.8, on"
    assert typed("m")[1] == "Unit 1, Edges, weight 0.8, muted"
    assert typed("Shift+ArrowLeft")[0] == "Unit 0, Edges, weight 0.8, muted"
    typed("ArrowRight")
    typed("s")
    typed("Control+c")
    note(page, "Unit 1 was copied")
    assert typed("a")[2] == "Unit 2, no model, weight 1, off"
    typed("Control+v")
    note(page, "Pasted into unit 2")
    assert tabs(page)[2] == "Unit 2, Edges, weight 0.8, on"
    assert page.locator(f"{unit('image', 2)} img").count() == 1
    assert len(typed("Delete")) == 2
    assert len(typed("Control+z")) == 3


def test_a_unit_is_pasted_into_another_tab_with_its_picture(page: Any) -> None:
    act(page, "whole")
    note(page, "with its pictures")
    page.evaluate("ctrlgenUnits.copies = {}")  # as in another browser
    text = page.evaluate("navigator.clipboard.readText()")
    assert json.loads(text)["weight"] == 0.8
    page.locator("#tabs > .tab-nav button", has_text="img2img").first.click()
    reveal(page, "#ctrlgen_img2img_unit0_image")
    page.locator("#ctrlgen_img2img_tabs [data-action=paste]").click()
    page.locator("#ctrlgen_img2img_tabs .ctrlgen-units-note", has_text="Pasted").wait_for()
    page.wait_for_selector("#ctrlgen_img2img_unit0_image img")
    assert page.locator("#ctrlgen_img2img_unit0_weight input[type=number]").input_value() == "0.8"
    page.locator("#tabs > .tab-nav button", has_text="txt2img").first.click()
    page.wait_for_timeout(500)


def test_a_text_that_is_no_unit_says_so(page: Any) -> None:
    page.evaluate("navigator.clipboard.writeText('a cat')")
    act(page, "paste")
    note(page, "not JSON")
    page.evaluate('navigator.clipboard.writeText(\'{"model": "a", "image": "sha:0123456789ab"}\')')
    act(page, "paste")
    note(page, "Choose these pictures again")
    act(page, "undo")
    assert tabs(page) == ["Unit 0, Edges, weight 0.8, on"]


def test_the_live_preview_follows_the_fields(page: Any) -> None:
    page.wait_for_selector(f"{unit('map')} img")
    before = page.locator(f"{unit('map')} img").get_attribute("src")
    choose(page, "preprocessor", "invert")
    page.wait_for_function(f"document.querySelector({unit('map')!r} + ' img').src !== {before!r}")
    page.locator(f"{TABS} .ctrlgen-live").uncheck()
    before = page.locator(f"{unit('map')} img").get_attribute("src")
    choose(page, "preprocessor", "canny")
    page.wait_for_timeout(4000)
    assert page.locator(f"{unit('map')} img").get_attribute("src") == before
    page.locator(f"{TABS} .ctrlgen-live").check()


def test_the_menu_of_the_picture(page: Any, tmp_path: Path) -> None:
    press(page, unit("send_size"))
    page.wait_for_timeout(700)
    assert page.locator("#txt2img_width input[type=number]").input_value() == "128"
    for name in ("width", "height"):
        fill(page, f"#txt2img_{name} input[type=number]", "64")
    page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement("canvas"), {width: 40, height: 24});
        canvas.getContext("2d").fillRect(0, 0, 40, 24);
        const blob = await new Promise((resolve) => canvas.toBlob(resolve));
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
    }""")
    page.click(unit("clipboard"))
    page.wait_for_function(f"document.querySelector({unit('image')!r} + ' img').naturalWidth === 40")
    page.wait_for_timeout(4000)  # the preview of that picture, which empties the place of errors
    page.click(unit("from_init"))
    page.wait_for_selector(f"{unit('map_error')} .ctrlgen-error")
    page.wait_for_timeout(600)  # until the tab has heard of it
    assert tabs(page) == ["Unit 0, Edges, weight 0.8, on, error"]
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / f"{name}.png")
    files = page.locator(f"{unit('images')} input[type=file]")
    files.set_input_files([str(tmp_path / f"{name}.png") for name in ("a", "b")])
    page.locator(f"{unit('picture_menu')} > .label-wrap", has_text="Picture from: 2 files").wait_for()
    shot(page, "picture-menu")
    act(page, "duplicate")
    assert page.locator(f"{unit('images', 1)} tr.file").count() == 2
    for index in range(2):
        page.locator(f"{TABS} > .tab-nav > button").nth(index).click()
        page.locator(f"{unit('image', index)} button[aria-label=Clear]").click()
    fill(page, "#txt2img_batch_size input[type=number]", "2")
    assert len(sent(page)) == 2
    fill(page, "#txt2img_batch_size input[type=number]", "1")
