"""The table of models on the page, shown when its button is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from lib_ctrlgen.models.listing import Listed
from lib_ctrlgen.webui.model_list import models_here
from lib_ctrlgen.webui.settings import model_store

from .components import Panel
from .download_box import build_published

COLUMNS = ("Model [hash]", "Kind", "For", "Size", "Purpose")
NONE = "There are no models in the model folders."


def build_models(panel: Panel) -> None:
    """Build the tab's button, which reads the model folders again, and the table."""
    with gr.Column(elem_id=panel.elem_id("models")):
        button = gr.Button("List the models", elem_id=panel.elem_id("list_models"), size="sm")
        table = gr.HTML(elem_id=panel.elem_id("models_table"))
        build_published(panel)
    button.click(refreshed_table, outputs=[table])


def refreshed_table() -> str:
    """The table after the model folders were read again."""
    model_store().refresh()
    return models_html(models_here())


def models_html(rows: Sequence[Listed]) -> str:
    """The models as an HTML table; a file that cannot be used has the reason in the last column."""
    if not rows:
        return f'<p class="ctrlgen-note">{NONE}</p>'
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>" for row in rows)
    return (
        f'<div class="ctrlgen-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
