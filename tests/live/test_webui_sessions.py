"""The panel in two browser tabs, behind a login, and after reloads of the interface.

With `--gradio-auth` set CTRLGEN_WEBUI_LOGIN, user:password. Needs playwright and a Chromium.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import EDGES, WebUI, scene
from tests.support.browser_page import PATIENCE, generate, open_panel, ready, shot, unit
from tests.support.script_page import browser

pytestmark = pytest.mark.live
RELOADS = 5

# Setting a width or height raises this in the WebUI's page, also without the extension.
OF_THE_WEBUI = "Cannot read properties of undefined (reading 'props')"


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def context(opened: Any) -> Iterator[Any]:
    found = opened.new_context(viewport={"width": 1400, "height": 1600})
    found.set_default_timeout(PATIENCE)
    yield found
    found.close()


def signed_in(page: Any) -> Any:
    """Pass the login, if there is one."""
    page.wait_for_selector("#ctrlgen_txt2img_panel, input[type=password]")
    if page.locator("input[type=password]").count():
        user, _, password = os.environ["CTRLGEN_WEBUI_LOGIN"].partition(":")
        page.locator("input").first.fill(user)
        page.locator("input[type=password]").fill(password)
        page.locator("button").first.click()
    return page


def page_of(context: Any, url: str) -> Any:
    """A tab with the WebUI's page, ready."""
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)) if str(error) != OF_THE_WEBUI else None)
    page.goto(url, wait_until="domcontentloaded")
    ready(signed_in(page))  # before the login, the WebUI answers its scripts with 401
    page.on("response", lambda answer: page.faults.append(answer.url) if answer.status >= 400 else None)
    return page


def use(page: Any, folder: Path, kind: str) -> None:
    """Put a picture into the first unit and choose what it is for."""
    open_panel(page)
    scene(128).save(folder / "scene.png")
    page.locator(f"{unit('image')} input[type=file]").set_input_files(str(folder / "scene.png"))
    page.wait_for_selector(f"{unit('image')} img")
    page.locator(f"{unit('kind')} label", has_text=kind).first.click()
    page.wait_for_function(f"document.querySelector('{unit('enabled')} input').checked")


def models(page: Any) -> list[str]:
    """The models of the units in the infotext of the generated picture."""
    text = page.locator("#html_info_txt2img").first.inner_text()
    (entry,) = re.findall(r'CtrlGen: ("(?:\\.|[^"\\])*")', text)
    return [made["model"].partition(" ")[0] for made in json.loads(json.loads(entry))["units"]]


def test_two_tabs_keep_their_own_units(context: Any, webui: WebUI, tmp_path: Path) -> None:
    first, second = (page_of(context, webui.url) for _ in range(2))
    use(first, tmp_path, "Edges")
    use(second, tmp_path, "Depth")
    for _ in range(2):
        for page, kind in ((first, "edges"), (second, "depth")):
            generate(page)
            assert models(page) == [f"ctrlgen-tiny-{kind}"]
    assert first.faults == second.faults == []


def test_nothing_of_the_panel_is_there_before_the_login(context: Any, webui: WebUI, tmp_path: Path) -> None:
    if not os.environ.get("CTRLGEN_WEBUI_LOGIN"):
        pytest.skip("start the WebUI with --gradio-auth, and set CTRLGEN_WEBUI_LOGIN")
    page = context.new_page()
    page.goto(webui.url, wait_until="domcontentloaded")
    page.wait_for_selector("input[type=password]")
    assert "ctrlgen_txt2img" not in page.content()
    signed = page_of(context, webui.url)
    use(signed, tmp_path, "Edges")
    generate(signed)
    assert models(signed) == [EDGES["model"]]
    assert signed.faults == []


def test_the_interface_is_reloaded_again_and_again(context: Any, webui: WebUI, tmp_path: Path) -> None:
    page = page_of(context, webui.url)
    for _ in range(RELOADS):
        page.evaluate("window.before = true")
        page.get_by_role("link", name="Reload UI").click()
        page.wait_for_function("window.before === undefined")
        ready(signed_in(page))
    use(page, tmp_path, "Edges")
    generate(page)
    assert models(page) == [EDGES["model"]]
    shot(page, "after-reloads")
