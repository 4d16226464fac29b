"""The bundled tiny model on the page: buttons that install it and that choose suitable settings."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths_internal, sd_models, shared

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.models.bundled import NAME, SIZES, install_into
from lib_ctrlgen.webui.settings import SECTION, model_store

from .components import Panel
from .preview import error_html

INSTALL = "Install the tiny model"
# This button of the WebUI reloads its list of checkpoints.
REFRESH = "() => { const b = gradioApp().querySelector('#refresh_sd_model_checkpoint'); if (b) b.click(); }"
FAR = (
    f"The loaded checkpoint, {NAME}, was trained on pictures of {SIZES[0]} to {SIZES[-1]} pixels a side and "
    "draws no proper shapes at other sizes. Press the button below."
)


def build_tiny_model(panel: Panel) -> None:
    """Build a warning about the size, hidden until the page shows it, and the two buttons."""
    hidden = ["ctrlgen-hidden"]
    warning = f'<p class="ctrlgen-error">{escape(FAR)}</p>'
    gr.HTML(warning, elem_id=panel.elem_id("tiny_note"), elem_classes=hidden)
    with gr.Accordion("Try it with the bundled tiny model", open=False, elem_id=panel.elem_id("tiny")):
        install_button(panel.elem_id("tiny_install"))
        options = {"elem_id": panel.elem_id("tiny_use"), "size": "sm"}
        use = gr.Button("Set its size, steps and guidance (128 x 128, 20, 4)", **options)
        use.click(fn=None, _js=f"() => ctrlgen.tiny('{panel.tab}')")


def register_tiny_setting() -> None:
    """Also add the button to the settings page. It is not a setting: nothing is saved."""
    option = shared.OptionHTML("")
    option.component = lambda elem_id, **_: install_button(elem_id)
    option.section = SECTION
    shared.opts.add_option("ctrlgen_tiny_model", option)


def install_button(elem_id: str) -> Any:
    """Build the button that installs the model, and the HTML below it for the result."""
    with gr.Column():
        button = gr.Button(INSTALL, elem_id=elem_id, size="sm")
        result = gr.HTML(elem_id=f"{elem_id}_said")
    button.click(installed, outputs=[result], show_progress=False).then(fn=None, _js=REFRESH)
    return result


def installed() -> str:
    """Install the model into this WebUI's folders, and return the result as HTML."""
    try:
        placed = install_into(Path(paths_internal.models_path))
    except CtrlGenError as error:
        return error_html(error)
    sd_models.list_models()
    model_store().refresh()
    new = sum(each.action != "already there" for each in placed)
    done = f"{new} files written" if new else "It was installed already"
    text = (
        f"{done}. Choose the checkpoint {NAME} at the top of the page, set its size, steps and guidance, and "
        "press the refresh button beside a unit's model."
    )
    return f'<p class="ctrlgen-note">{escape(text)}</p>'
