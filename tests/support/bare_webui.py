"""The panel and the tuner's fields in a plain gradio app, with as much of the WebUI as they use.

Needs gradio 3.41, playwright and a Chromium. In the real WebUI: tests/live/test_webui_page.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from PIL import Image

from lib_ctrlgen.models.bundled import tiny_folder
from tests.support.fake_webui import FakeWebUI, fresh, served
from tests.support.script_page import ROOT, keep_screenshot

HOST_SCRIPT = """
const gradioApp = () => document.querySelector("gradio-app");
const called = {update: [], after: [], loaded: []};
const onUiUpdate = (callback) => called.update.push(callback);
const onAfterUiUpdate = (callback) => called.after.push(callback);
const onUiLoaded = (callback) => called.loaded.push(callback);
const onUiTabChange = () => {};
const updateInput = (field) => {
  const event = new Event("input", {bubbles: true});
  Object.defineProperty(event, "target", {value: field});
  field.dispatchEvent(event);
};
const selected_gallery_index_id = () => 0;
const opts = {};
const localGet = (name, fallback) => localStorage.getItem(name) ?? fallback;
const localSet = (name, value) => localStorage.setItem(name, value);
window.localization = window.localization || {};
const started = () => {
  let timer = null;
  new MutationObserver((records) => {
    called.update.forEach((callback) => callback(records));
    clearTimeout(timer);
    timer = setTimeout(() => called.after.forEach((callback) => callback()), 200);
  }).observe(gradioApp(), {childList: true, subtree: true});
  called.loaded.forEach((callback) => callback());
  called.after.forEach((callback) => callback());
};
"""
ADDRESS = "file=ctrlgen/javascript/"  # of the scripts, as in the WebUI's page


def real_gradio() -> Any:
    """gradio 3.41, or a skipped test that says why."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = pytest.importorskip("gradio", reason="test of the bare page: install gradio 3.41.2")
    if not gradio.__version__.startswith("3.41"):
        pytest.skip(f"test of the bare page: install gradio 3.41.2, this is {gradio.__version__}")
    return gradio


def axe_file() -> Path:
    """The path of axe-core: CTRLGEN_AXE, or in the package axe-playwright-python. Skips without it."""
    given = os.environ.get("CTRLGEN_AXE")
    package = find_spec("axe_playwright_python")
    if given:
        return Path(given)
    if package is None or package.origin is None:
        pytest.skip("contrast and roles: install axe-playwright-python, or set CTRLGEN_AXE to axe.min.js")
    return Path(package.origin).parent / "axe.min.js"


class BareWebUI(FakeWebUI):
    """The fake host without its fakes of gradio and fastapi."""

    def __init__(self, gradio: Any) -> None:
        super().__init__()
        self.gradio = gradio

    def modules(self, folder: Path) -> dict[str, Any]:
        """The modules of the host; rows and buttons of its own are gradio's."""
        gr, found = self.gradio, super().modules(folder)
        found["modules.ui_components"].FormRow = gr.Row
        found["modules.ui_common"].create_refresh_button = refresh_button(gr)
        return {name: made for name, made in found.items() if name.startswith("modules")}


def refresh_button(gr: Any) -> Any:
    """The WebUI's function that makes a button which lists files again."""

    def create(component: Any, refresh: Any, choices: Any, elem_id: str) -> Any:
        def listed() -> Any:
            refresh()
            return gr.update(**choices())

        button = gr.Button("\U0001f504", elem_id=elem_id, size="sm")
        button.click(listed, [], [component])
        return button

    return create


def host_fields(gr: Any, tab: str) -> None:
    """The fields of the WebUI's own page that the panel's scripts read."""
    gr.Textbox(label="Prompt", elem_id=f"{tab}_prompt", lines=2)
    gr.Textbox(label="Negative prompt", elem_id=f"{tab}_neg_prompt", lines=2)
    sizes = {"minimum": 64, "maximum": 2048, "step": 8, "value": 512}
    gr.Slider(label="Sampling steps", elem_id=f"{tab}_steps", minimum=1, maximum=150, value=20, step=1)
    gr.Slider(label="Width", elem_id=f"{tab}_width", **sizes)
    gr.Slider(label="Height", elem_id=f"{tab}_height", **sizes)
    for name in ("count", "size"):
        batch = {"minimum": 1, "maximum": 100, "value": 1, "step": 1, "interactive": True}
        gr.Slider(label=f"Batch {name}", elem_id=f"{tab}_batch_{name}", **batch)
    gr.Slider(label="CFG Scale", elem_id=f"{tab}_cfg_scale", minimum=1, maximum=30, value=7, step=0.5)
    gr.Button("Generate", elem_id=f"{tab}_generate")
    with gr.Column(elem_id=f"{tab}_gallery_container"):
        gr.Gallery(label="Output", elem_id=f"{tab}_gallery")
    gr.Textbox(label="Generation info", elem_id=f"generation_info_{tab}")
    gr.HTML(elem_id=f"html_log_{tab}")


def build(gr: Any) -> Any:
    """The app: txt2img with the panel and the tuner's fields."""
    style = (ROOT / "style.css").read_text("utf-8")
    with gr.Blocks(css=style, analytics_enabled=False, title="bare") as app:
        gr.HTML("<h1>Bare page</h1>")
        host_fields(gr, "txt2img")
        fresh("panel.panel").build_panel("txt2img")
        tuner = fresh("tuner.script").TunerScript()
        tuner.elem_id = lambda name: f"script_txt2img_ctrlgen_xy_tuner_{name}"
        with gr.Column(elem_id="bare_tuner"):
            tuner.ui(is_img2img=False)
    return app


@contextmanager
def bare_app(folder: Path, **settings: Any) -> Iterator[SimpleNamespace]:
    """Serve the app, and yield its address and the fake host."""
    gr = real_gradio()
    host = BareWebUI(gr)
    host.opts.data.update(settings)
    copytree(tiny_folder() / "ControlNet", folder / "models" / "ControlNet")
    with ExitStack() as stack:
        stack.enter_context(served(host, folder))
        stack.enter_context(patch.dict(os.environ, {"no_proxy": "*"}))
        app = build(gr)
        app.queue()
        _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, show_api=False, share=False)
        stack.callback(app.close, verbose=False)
        # without waiting for the browser to close its connections
        stack.callback(setattr, app.server, "force_exit", True)
        yield SimpleNamespace(address=address, host=host, app=app)


@contextmanager
def bare_page(browser: Any, address: str, words: str = "{}", **options: Any) -> Iterator[Any]:
    """The page with the panel's scripts, opened; `words` are the translations, as JSON."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 1800}, **options})
    page.set_default_timeout(90_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.route(f"**/{ADDRESS}**", _script)
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#ctrlgen_txt2img_panel")
    page.add_script_tag(content=f"window.localization = {words};")
    page.add_script_tag(content=HOST_SCRIPT)
    for file in sorted((ROOT / "javascript").glob("*.js")):
        page.add_script_tag(url=f"/{ADDRESS}{file.name}")
    page.evaluate("started()")
    yield page
    keep_screenshot(page)
    page.close()


def _script(route: Any) -> None:
    name = route.request.url.partition(ADDRESS)[2].partition("?")[0]
    route.fulfill(path=str(ROOT / "javascript" / name), content_type="text/javascript")


def picture_file(folder: Path, colour: str = "red") -> str:
    """The path of a small picture."""
    path = folder / f"{colour}.png"
    Image.new("RGB", (64, 64), colour).save(path)
    return str(path)
