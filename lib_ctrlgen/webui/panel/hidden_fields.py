"""The fields of a unit that the page or the server writes and that nobody sees."""

from __future__ import annotations

import gradio as gr

from lib_ctrlgen.forms.param_values import PARAM_VALUES

from .components import UnitPanel
from .strength_panel import presets_text

SIZE = ("width", "height")  # of the generation, in pixels


def build_hidden(unit: UnitPanel) -> None:
    """Build the fields one after the other: gradio puts them into one group, and would make one for each."""
    hidden = ["ctrlgen-hidden"]
    for name, label in {"pose": "Pose (OpenPose JSON)", PARAM_VALUES: None}.items():
        unit.show(name, gr.Textbox, label=label, elem_classes=hidden)
    for name, value in {"checkpoint": "", "picture": "", "presets": presets_text("")}.items():
        unit.parts[name] = gr.Textbox(value=value, elem_id=unit.elem_id(name), elem_classes=hidden)
        unit.parts[name].do_not_save_to_config = True
    unit.parts["pose_found"] = gr.Textbox(visible=False, elem_id=unit.elem_id("pose_found"))
    unit.parts |= {name: gr.Number(value=512, visible=False, elem_id=unit.elem_id(name)) for name in SIZE}
