"""The fields of a unit for the parameters of its preprocessor and of its control family.

They are HTML that the server sends when a preprocessor or a family is chosen, so that a page does not hold
the fields of all of them; the values are in the component `param_values` (forms/param_values.py).
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.box_fields import EXAMPLE
from lib_ctrlgen.forms.param_html import params_html
from lib_ctrlgen.forms.param_values import PARAM_VALUES, read_param_values
from lib_ctrlgen.forms.preprocessor_fields import detects, names_in, param_fields
from lib_ctrlgen.preprocessors.detection import RESOLUTION
from lib_ctrlgen.webui.late import plain

from .components import UnitPanel


def build_params(unit: UnitPanel) -> None:
    """Build the preprocessors' parameters; those of the chosen preprocessors are shown."""
    values = unit.parts[PARAM_VALUES]
    values.change(**shown(unit))
    area = gr.HTML(visible=False)
    bounds = {"minimum": 0, "maximum": RESOLUTION.maximum, "step": RESOLUTION.step}
    label = "Detection resolution (0: as generated)"
    with FormRow():
        resolution = unit.show("resolution", gr.Slider, label=label, visible=False, **bounds)

    @plain
    def reveal(text: str, given: str) -> list[dict[str, Any]]:
        names, values = names_in(text), read_param_values(given, "")
        fields = {name: param for name, (owner, param) in param_fields().items() if owner in names}
        shown = params_html(fields, values, unit.elem_id(""))
        return [gr.update(value=shown, visible=bool(fields)), gr.update(visible=detects(text))]

    chosen = unit.parts["preprocessor"]
    outputs = [area, resolution]
    chosen.change(reveal, inputs=[chosen, values], outputs=outputs, show_progress=False).then(**shown(unit))


def shown(unit: UnitPanel) -> dict[str, Any]:
    """Arguments of a gradio event that lets the page show the stored values in the parameters' fields."""
    return {"fn": None, "_js": f"() => ctrlgenParams.show('{unit.elem_id('panel')}')"}


def build_family_params(unit: UnitPanel) -> None:
    """Build the parameters that only some control families have; `connect_family` shows them."""
    unit.parts["family_params"] = gr.HTML(visible=False)
    more = {"open": False, "visible": False, "elem_id": unit.elem_id("more")}
    unit.parts["more"] = gr.Accordion("More of this control", **more)
    with unit.parts["more"]:
        unit.parts["more_params"] = gr.HTML()


def build_boxes(unit: UnitPanel) -> None:
    """Build the text field of the boxes, and the area in which javascript/editors/boxes.js shows them."""
    hint = "left top right bottom: phrase, one a line, from 0 to 1 (or JSON as in the API)"
    unit.show("boxes", gr.Textbox, label="Boxes", info=hint, placeholder=EXAMPLE, lines=3, visible=False)
    names = f'data-tab="{unit.panel.tab}" data-field="{unit.elem_id("boxes")}"'
    content = f'<div class="ctrlgen-boxes" {names}></div>'
    unit.parts["boxes_area"] = gr.HTML(content, elem_id=unit.elem_id("boxes_area"), visible=False)
