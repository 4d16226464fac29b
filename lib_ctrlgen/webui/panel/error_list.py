"""The list of errors at the top of the panel, which javascript/ctrlgen_errors.js fills."""

from __future__ import annotations

import gradio as gr

from .components import Panel


def build_errors(panel: Panel) -> None:
    """Build the empty list."""
    area = '<div class="ctrlgen-errors" role="alert" data-said=""></div>'
    gr.HTML(area, elem_id=panel.elem_id("errors"))
