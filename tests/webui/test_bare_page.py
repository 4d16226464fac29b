"""The panel in a plain gradio app: what a user does by mouse and by keyboard, before there is a WebUI.

Skipped, saying so, without gradio 3.41, playwright or a Chromium.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bare_webui import bare_app, bare_page, picture_file
from tests.support.script_page import ROOT

PANEL = "#ctrlgen_txt2img_panel"
UNIT = "#ctrlgen_txt2img_unit0_"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with bare_app(tmp_path_factory.mktemp("webui")) as made:
        yield made


def opened_panel(page: Any) -> Any:
    page.click(f"{PANEL} > .label-wrap")
    page.wait_for_selector(f"{UNIT}enabled", state="visible")
    return page


@pytest.fixture
def page(chromium: Any, app: Any) -> Iterator[Any]:
    with bare_page(chromium, app.address) as opened:
        yield opened_panel(opened)
        assert not opened.errors


def value(page: Any, name: str) -> str:
    return str(page.locator(f"{UNIT}{name} :is(textarea, input:not([type=range]))").first.input_value())


def is_on(page: Any) -> bool:
    return bool(page.locator(f"{UNIT}enabled input").is_checked())


def test_a_picture_and_a_kind_switch_the_unit_on(page: Any, tmp_path: Path) -> None:
    page.locator(f"{UNIT}image input[type=file]").set_input_files(picture_file(tmp_path))
    page.wait_for_selector(f"{UNIT}image img")
    page.locator(f"{UNIT}kind label", has_text="Edges").click()
    page.wait_for_function(f"document.querySelector('{UNIT}enabled input').checked")
    assert value(page, "model").startswith("ctrlgen-tiny-edges")
    assert value(page, "preprocessor") == "canny"
    page.locator(f"{UNIT}kind_undo").click()
    page.wait_for_function(f"!document.querySelector('{UNIT}enabled input').checked")
    assert value(page, "model") == "None"


def test_the_kind_is_chosen_by_keyboard(page: Any) -> None:
    first = page.locator(f"{UNIT}kind input[type=radio]").first
    first.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"document.querySelector('{UNIT}enabled input').checked")
    before = value(page, "model")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([id, model]) => document.querySelector(`${id}model input`).value !== model", arg=[UNIT, before]
    )
    assert is_on(page)


def test_the_curve_is_drawn_and_changed_by_keyboard(page: Any) -> None:
    field = f"document.querySelector('{UNIT}weight_schedule :is(textarea, input)').value"
    bar = page.locator(f"{UNIT}panel .label-wrap", has_text="Weight over the steps")
    page.wait_for_selector(f"{UNIT}panel .label-wrap[role=button]")
    bar.focus()
    page.keyboard.press("Enter")
    point = page.locator(f"{UNIT}panel .ctrlgen-curves .point").first
    point.wait_for(state="visible")
    point.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"{field} === '0.99@0, 1@0.5'")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.wait_for_function(f"{field} === ''")


def test_units_are_added_and_chosen_by_keyboard(page: Any) -> None:
    tabs = "#ctrlgen_txt2img_tabs > .tab-nav > button"
    add = page.locator("#ctrlgen_txt2img_tabs [data-action=add]")
    add.wait_for(state="visible")
    assert page.locator(f"{tabs}:nth-child(2)").is_hidden()
    add.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{tabs}:nth-child(2).selected:focus")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(f"{tabs}:nth-child(1).selected:focus")


def test_a_folder_becomes_the_pictures_of_a_batch(page: Any, tmp_path: Path) -> None:
    poses = tmp_path / "poses"
    (poses / "more").mkdir(parents=True)
    for file in ("10.png", "2.PNG", "notes.txt", "more/3.png", ".hidden.png"):
        (poses / file).write_bytes(Path(picture_file(tmp_path)).read_bytes())
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "1.png").write_bytes(Path(picture_file(tmp_path)).read_bytes())
    page.click(f"{UNIT}picture_menu > .label-wrap")
    box = page.locator(f"{UNIT}images + .ctrlgen-folder")
    for folder, files in ((earlier, 1), (poses, 2)):  # the second choice replaces the first one
        box.locator("input").set_input_files(folder)
        page.wait_for_selector(f"{UNIT}images tr.file >> nth={files - 1}")
    assert [each[:2] for each in page.locator(f"{UNIT}images tr.file").all_inner_texts()] == ["2.", "10"]
    left = "Left out: .hidden.png, more/3.png, notes.txt."
    box.locator("span", has_text=f"2 files, but batch size times batch count is 1. {left}").wait_for()
    page.locator("#txt2img_batch_count input[type=number]").fill("2")
    page.wait_for_function("() => document.body.innerText.includes('2 files, one for each image')")
    page.locator(f"{UNIT}picture_menu > .label-wrap", has_text="Picture from: 2 files").wait_for()
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("")
    page.click(f"{UNIT}images button[aria-label=Clear]")
    page.wait_for_selector(f"{UNIT}images input[type=file]", state="attached")
    box.locator("input").set_input_files(empty)
    page.wait_for_function(
        "() => document.body.innerText.includes('There is no picture in the folder empty.')"
    )


def test_no_component_sends_an_example_of_its_value(app: Any) -> None:
    components = [
        each
        for each in app.app.get_config_file()["components"]
        if str(each["props"].get("elem_id", "")).startswith("ctrlgen_")
    ]
    assert len(components) > 300
    lengths = {each["props"]["elem_id"]: len(str(each.get("example_inputs", ""))) for each in components}
    assert {name: length for name, length in lengths.items() if length > 1000} == {}


def test_another_language_replaces_the_words_once(chromium: Any, app: Any) -> None:
    words = (ROOT / "localizations" / "de_DE.json").read_text("utf-8")
    with bare_page(chromium, app.address, words) as page:
        opened_panel(page)
        page.wait_for_selector(f"{UNIT}enabled >> text=Aktivieren")
        page.locator(f"{UNIT}enabled input").check()
        page.wait_for_selector(f"{PANEL} >> text=CtrlGen (Einheiten an: 1)")
        page.wait_for_selector("#bare_tuner >> text=Wählen, was sich ändert.")
        assert page.locator(f"{UNIT}weight").get_attribute("title") == "Wie stark die Einheit wirkt"
        page.wait_for_timeout(1000)
        page.evaluate(
            "window.changes = 0; new MutationObserver((all) => { window.changes += all.length; })"
            ".observe(document.body, {childList: true, subtree: true, characterData: true})"
        )
        page.wait_for_timeout(1200)
        assert page.evaluate("window.changes") == 0
        assert not page.errors
