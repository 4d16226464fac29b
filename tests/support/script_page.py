"""A page in a browser with the panel's scripts and style, and as much of the WebUI's page as they use.

Needs playwright and a Chromium (CHROMIUM, /usr/bin/chromium). The real page: tests/live/test_webui_page.py.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
HOST = """
const gradioApp = () => document;
const updateInput = (field) => field.dispatchEvent(new Event("input", {bubbles: true}));
const onAfterUiUpdate = () => null;
const localGet = (name, fallback) => fallback;
const localSet = () => null;
const onUiLoaded = (callback) => callback();
"""


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium. Skips the test, and says so, without playwright or a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="test in a browser: install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"test in a browser: no browser at {CHROMIUM}")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def page_of(
    opened: Any, body: str, scripts: Sequence[str], *, height: int = 600, touch: bool = False
) -> Iterator[Any]:
    """A page with this body and the scripts of these names in `javascript/`, such as `editors/curve`."""
    sources = [(ROOT / "javascript" / f"{name}.js").read_text("utf-8") for name in scripts]
    tags = "".join(f"<script>{source}</script>" for source in (HOST, *sources))
    page = opened.new_page(viewport={"width": 800, "height": height}, has_touch=touch)
    page.set_default_timeout(90_000)
    page.set_content(f"<style>{(ROOT / 'style.css').read_text('utf-8')}</style>{body}{tags}")
    yield page
    keep_screenshot(page)
    page.close()


def keep_screenshot(page: Any) -> None:
    """Write what a test leaves behind on its page into the folder CTRLGEN_SCREENSHOTS, if that is set."""
    folder = os.environ.get("CTRLGEN_SCREENSHOTS")
    if not folder:
        return
    place = re.sub(r"\W+", "-", os.environ["PYTEST_CURRENT_TEST"].partition("tests/")[2].partition(" ")[0])
    Path(folder).mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(Path(folder) / f"{place}.png"))
