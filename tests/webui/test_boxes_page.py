"""The rectangles of a GLIGEN unit in a browser, on a page with the script, the style and one text field."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.script_page import page_of

BODY = """
<div id="txt2img_width"><input type="number" value="400"></div>
<div id="txt2img_height"><input type="number" value="200"></div>
<div class="ctrlgen"><div id="field"><textarea></textarea></div>
<div class="ctrlgen-boxes" data-tab="txt2img" data-field="field"></div></div>
"""


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY, ["ctrlgen", "editors/boxes"]) as opened:
        opened.evaluate("ctrlgenBoxes.update()")
        yield opened


def text(page: Any) -> str:
    return str(page.locator("#field textarea").input_value())


def numbers(page: Any) -> list[list[float]]:
    return [[float(edge) for edge in line.partition(":")[0].split()] for line in text(page).splitlines()]


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one point to another, both as shares of the picture."""
    bounds = page.locator(".ctrlgen-stage").bounding_box()
    places = [
        (bounds["x"] + x * bounds["width"], bounds["y"] + y * bounds["height"]) for x, y in (start, end)
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def near(found: list[float], wanted: list[float]) -> bool:
    return all(abs(one - other) <= 0.02 for one, other in zip(found, wanted, strict=True))


def test_boxes_are_drawn_moved_and_resized_by_dragging(page: Any) -> None:
    bounds = page.locator(".ctrlgen-stage").bounding_box()
    assert abs(bounds["width"] / bounds["height"] - 2) < 0.1
    drag(page, (0.1, 0.2), (0.5, 0.6))
    page.keyboard.type("a red circle")
    assert text(page).endswith(": a red circle")
    assert near(numbers(page)[0], [0.1, 0.2, 0.5, 0.6])
    drag(page, (0.95, 0.25), (0.7, 0.1))
    assert near(numbers(page)[1], [0.7, 0.1, 0.95, 0.25])
    drag(page, (0.3, 0.4), (0.4, 0.5))
    assert near(numbers(page)[0], [0.2, 0.3, 0.6, 0.7])
    drag(page, (0.595, 0.69), (0.8, 0.99))
    assert near(numbers(page)[0], [0.2, 0.3, 0.8, 1.0])
    assert text(page).splitlines()[0].endswith(": a red circle")
    assert page.locator(".ctrlgen-box").count() == 2


def test_everything_works_by_keyboard(page: Any) -> None:
    page.locator(".ctrlgen-add").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("a tree")
    assert text(page) == "0.25 0.25 0.75 0.75: a tree"
    page.locator(".ctrlgen-box").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert text(page) == "0.23 0.26 0.74 0.76: a tree"
    page.keyboard.press("Delete")
    assert text(page) == ""
    assert page.locator(".ctrlgen-box").count() == 0


def test_the_text_is_what_counts(page: Any) -> None:
    field = page.locator("#field textarea")
    field.fill('[{"box": [0, 0, 0.5, 0.5], "text": "a cat", "image": "kept"}]')
    assert page.locator(".ctrlgen-box").first.inner_text() == "a cat"
    drag(page, (0.2, 0.2), (0.4, 0.2))
    assert text(page) == '[{"box":[0.2,0,0.7,0.5],"text":"a cat","image":"kept"}]'
    field.fill("a cat somewhere")
    assert page.locator(".ctrlgen-box").count() == 0
    drag(page, (0.2, 0.2), (0.4, 0.5))
    assert text(page) == "a cat somewhere"
    assert "not a list of boxes" in page.locator(".ctrlgen-note").inner_text()
    field.fill("\n".join(["0 0 1 1: all"] * 30))
    page.locator(".ctrlgen-add").click()
    assert len(numbers(page)) == 30


def test_a_phrase_is_never_read_as_markup(page: Any) -> None:
    page.locator("#field textarea").fill("0 0 1 1: <img src=x onerror=alert(1)>")
    assert page.locator(".ctrlgen-box img").count() == 0
    assert "<img" in page.locator(".ctrlgen-box").inner_text()
