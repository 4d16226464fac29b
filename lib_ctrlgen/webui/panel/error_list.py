"""The list of errors at the top of the panel, which javascript/ctrlgen_errors.js fills.

A script of the dropdown gets an error itself, and the WebUI shows its text, with a JSON path, below the
gallery. The page then sends that text here, to be shown at its field, too.
"""

from __future__ import annotations

import re

import gradio as gr

from lib_ctrlgen.errors import RequestError

from .components import Panel
from .preview import error_html

RAISED = re.compile(r"Error: (?P<path>\$[\w.\[\]]*): (?P<message>.*?)(?:Time taken: |$)", re.MULTILINE)


def build_errors(panel: Panel) -> None:
    """Build the empty list, and the hidden button that the page presses after an error of a script."""
    area = '<div class="ctrlgen-errors" role="alert" data-said=""></div>'
    gr.HTML(area, elem_id=panel.elem_id("errors"))
    shown = gr.HTML(elem_id=panel.elem_id("explained"))
    text = gr.Textbox(visible=False, elem_id=panel.elem_id("raised"))
    hidden = {"elem_id": panel.elem_id("explain"), "elem_classes": ["ctrlgen-hidden"]}
    button = gr.Button("Show the error at its field", **hidden)
    log = f"() => [ctrlgen.failure('{panel.tab}')]"
    button.click(explained, _js=log, inputs=[text], outputs=[shown], show_progress=False)


def explained(text: str) -> str:
    """The error in what the WebUI shows of an exception, as HTML with the mark of its field; else empty."""
    found = RAISED.search(text or "")
    return error_html(RequestError(found["path"], found["message"])) if found else ""
