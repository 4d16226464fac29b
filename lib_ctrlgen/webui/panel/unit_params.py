"""The components of a unit for the parameters of its preprocessor and of its control family."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.box_fields import EXAMPLE
from lib_ctrlgen.forms.param_fields import family_fields
from lib_ctrlgen.forms.preprocessor_fields import detects, names_in, param_fields
from lib_ctrlgen.preprocessors.detection import RESOLUTION
from lib_ctrlgen.request.params import Param

from .components import UnitPanel


def build_params(unit: UnitPanel) -> None:
    """Build the preprocessors' parameters; those of the chosen preprocessors are shown."""
    fields = param_fields()
    owners = [owner for owner, _ in fields.values()]
    row = FormRow(visible=False)
    with row:
        sliders = [_param(unit, name, param) for name, (_, param) in fields.items()]
        bounds = {"minimum": 0, "maximum": RESOLUTION.maximum, "step": RESOLUTION.step}
        label = "Detection resolution (0: as generated)"
        sliders.append(unit.show("resolution", gr.Slider, label=label, visible=False, **bounds))

    def reveal(text: str) -> list[dict[str, Any]]:
        names = names_in(text)
        shown = [*(owner in names for owner in owners), detects(text)]
        return [gr.update(visible=each) for each in (*shown, any(shown))]

    chosen = unit.parts["preprocessor"]
    chosen.change(reveal, inputs=[chosen], outputs=[*sliders, row], show_progress=False)


def build_family_params(unit: UnitPanel, *, advanced: bool) -> None:
    """Build the control families' parameters, the advanced or the others; `connect_family` shows them."""
    for name, (_, param) in family_fields().items():
        if param.advanced == advanced and not param.uploaded:
            _param(unit, name, param)


def build_boxes(unit: UnitPanel) -> None:
    """Build the text field of the boxes, and the area in which javascript/editors/boxes.js shows them."""
    hint = "left top right bottom: phrase, one a line, from 0 to 1 (or JSON as in the API)"
    unit.show("boxes", gr.Textbox, label="Boxes", info=hint, placeholder=EXAMPLE, lines=3, visible=False)
    names = f'data-tab="{unit.panel.tab}" data-field="{unit.elem_id("boxes")}"'
    content = f'<div class="ctrlgen-boxes" {names}></div>'
    unit.parts["boxes_area"] = gr.HTML(content, elem_id=unit.elem_id("boxes_area"), visible=False)


def _param(unit: UnitPanel, name: str, param: Param) -> Any:
    """The component of a parameter, hidden at first: a slider, a list, a check box or a text field."""
    label = param.label.partition(": ")[0]  # the rest is in the tooltip
    options: dict[str, Any] = {"label": label, "info": param.info or None, "visible": False}
    if param.kind in {"int", "float"}:
        ends = [end for end in (param.minimum, param.off) if end is not None]
        bounds = {"minimum": min(ends, default=None), "maximum": param.maximum, "step": param.step}
        return unit.show(name, gr.Slider, **options, **bounds)
    if param.kind == "choice":
        return unit.show(name, gr.Dropdown, choices=list(param.choices), **options)
    if param.kind == "bool":
        return unit.show(name, gr.Checkbox, **options)
    return unit.show(name, gr.Textbox, max_lines=1, **options)
