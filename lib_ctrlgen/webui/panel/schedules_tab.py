"""The tab "Schedules": guidance and named prompt weights, all weights over the steps, and the plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.unit_fields import WHOLE_FIELDS
from lib_ctrlgen.webui.late import Late

from .components import Panel
from .curves import build_all_curves
from .infotext import PastedSetting

PROMPTS = ("prompt", "negative")
FIELDS = {
    "cfg_scale": ("Guidance schedule", "replaces CFG Scale, for example 7@0, 3@1"),
    "hires_cfg_scale": ("Guidance in the hires pass", "default: as in the first pass"),
    "prompt_weights": ("Named prompt weights", "glow=1>0.5 for a prompt with (neon sign:glow=1.2)"),
}


def build_schedules(panel: Panel) -> tuple[list[Any], Callable[[], None]]:
    """Build the tab. Returns the fields for the whole generation, and what connects the plan at the end."""
    fields = []
    with FormRow():
        for name, (label, example) in FIELDS.items():
            options = {
                "placeholder": example,
                "max_lines": 1,
                "min_width": 320,
                "elem_id": panel.elem_id(name),
            }
            box = gr.Textbox(value=WHOLE_FIELDS[name], label=label, **options)
            panel.paste_fields.append((box, PastedSetting(name)))
            fields.append(box)
    build_all_curves(panel)
    return fields, build_plan(panel)


def build_plan(panel: Panel) -> Callable[[], None]:
    """Build the button that previews the plan, and its output; the result connects it to all components."""
    with gr.Row():
        button = gr.Button("Preview plan", elem_id=panel.elem_id("show_plan"), size="sm")
    shown = gr.HTML(elem_id=panel.elem_id("plan"))
    steps = gr.Number(value=20, visible=False, elem_id=panel.elem_id("plan_steps"))
    texts = [gr.Textbox(visible=False, elem_id=panel.elem_id(f"plan_{name}")) for name in PROMPTS]

    def connect() -> None:
        button.click(
            Late("panel.plan_preview").shown,
            _js=f"(...args) => ctrlgen.steps('{panel.tab}', args)",
            inputs=[steps, *texts, *panel.components[1:]],
            outputs=[shown],
            show_progress=False,
        )

    return connect
