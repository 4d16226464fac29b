"""The WebUI's page in a browser: its fields, buttons and gallery."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import EDGES, SIZE, scene

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
PATIENCE = 600_000  # ms; the machine may be busy


@contextmanager
def opened_page(url: str, **options: Any) -> Iterator[Any]:
    """The page at an address, in a browser of its own, ready; skips without playwright or a Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="test of the page: install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"live test of the page: no browser at {CHROMIUM}")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(**{"viewport": {"width": 1500, "height": 2200}, **options})
        page.set_default_timeout(PATIENCE)
        page.goto(url, wait_until="domcontentloaded")
        ready(page)
        yield page
        browser.close()


def ready(page: Any) -> None:
    page.wait_for_selector("#ctrlgen_txt2img_panel")
    page.wait_for_function("typeof ctrlgen !== 'undefined'")
    page.wait_for_timeout(2000)
    for name, value in (("width", SIZE), ("height", SIZE), ("steps", 4)):
        fill(page, f"#txt2img_{name} input[type=number]", str(value))


REVEAL = """(part) => {
  for (let above = part.parentElement; above; above = above.parentElement) {
    const sides = [...above.parentElement?.children || []];
    const place = sides.filter((side) => side.classList.contains("tabitem")).indexOf(above);
    const buttons = sides.find((side) => side.classList.contains("tab-nav"));
    const head = sides.find((side) => side.classList.contains("label-wrap"));
    if (getComputedStyle(above).display !== "none") continue;
    if (place >= 0) buttons.children[place].click();
    else if (head) head.click();
  }
}"""


def reveal(page: Any, selector: str) -> None:
    """Open the tabs and accordions of the panel in which an element is."""
    if not page.locator(selector).first.is_visible():
        page.locator(selector).first.evaluate(REVEAL)
        page.wait_for_timeout(700)


def press(page: Any, selector: str) -> None:
    """Click an element of the panel, wherever it is in it."""
    reveal(page, selector)
    page.click(selector)


def fill(page: Any, selector: str, text: str) -> None:
    """Fill, and leave the field: a change is sent on both."""
    reveal(page, selector)
    page.locator(selector).fill(text)
    page.locator(selector).blur()
    page.wait_for_timeout(500)


def unit(name: str, index: int = 0) -> str:
    return f"#ctrlgen_txt2img_unit{index}_{name}"


def choose(page: Any, name: str, title: str) -> None:
    press(page, f"{unit(name)} input >> nth=0")
    page.locator(f"{unit(name)} ul li", has_text=title).first.click()
    page.wait_for_timeout(500)


def generate(page: Any) -> None:
    """Press Generate and wait for the answer."""
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_interrupt", state="visible")
    page.wait_for_selector("#txt2img_interrupt", state="hidden")
    page.wait_for_timeout(2500)


def thumbnails(page: Any) -> int:
    return int(page.locator("#txt2img_gallery .thumbnails .thumbnail-item").count())


def shot(page: Any, name: str) -> None:
    folder = os.environ.get("CTRLGEN_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_panel(page: Any) -> None:
    reveal(page, f"{unit('enabled')} input")


def fill_unit(page: Any, folder: Path) -> None:
    open_panel(page)
    scene(128).save(folder / "scene.png")
    page.locator(f"{unit('image')} input[type=file]").set_input_files(str(folder / "scene.png"))
    page.wait_for_selector(f"{unit('image')} img")
    choose(page, "model", EDGES["model"])
    choose(page, "preprocessor", "canny")
    page.locator(f"{unit('enabled')} input").check()
    fill(page, f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input", "1@0, 0.6@0.4, 0@1")
