"""The components of a unit for the parameters of its preprocessor and of its control family."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_ctrlgen.forms.box_fields import EXAMPLE
from lib_ctrlgen.forms.unit_fields import BASE_FIELDS, detects, family_fields, param_fields
from lib_ctrlgen.preprocessors.detection import RESOLUTION
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param

from .components import UnitPanel, family_of


def build_params(unit: UnitPanel) -> None:
    """Build the preprocessors' parameters; those of the chosen preprocessor are shown."""
    fields = param_fields()
    sliders = [_param(unit, name, param, visible=owner == "none") for name, (owner, param) in fields.items()]
    owners = [owner for owner, _ in fields.values()]
    bounds = {"minimum": 0, "maximum": RESOLUTION.maximum, "step": RESOLUTION.step}
    label = f"{RESOLUTION.label}, else {RESOLUTION.minimum} or more"
    sliders.append(unit.show("resolution", gr.Slider, label=label, visible=False, **bounds))

    def reveal(name: str) -> list[dict[str, Any]]:
        return [gr.update(visible=shown) for shown in (*(owner == name for owner in owners), detects(name))]

    chosen = unit.parts["preprocessor"]
    chosen.change(reveal, inputs=[chosen], outputs=sliders, show_progress=False)


def build_family_params(unit: UnitPanel) -> None:
    """Build the control families' parameters, which `connect_family` shows and hides."""
    for name, (_, param) in family_fields().items():
        _param(unit, name, param)


def build_boxes(unit: UnitPanel) -> None:
    """Build the text field of the boxes, and the area in which javascript/ctrlgen_boxes.js shows them."""
    label = "Boxes: left top right bottom: phrase, one a line, 0 to 1 (or JSON as in the API)"
    unit.show("boxes", gr.Textbox, label=label, placeholder=EXAMPLE, lines=3, visible=False)
    names = f'data-tab="{unit.panel.tab}" data-field="{unit.elem_id("boxes")}"'
    content = f'<div class="ctrlgen-boxes" {names}></div>'
    unit.parts["boxes_area"] = gr.HTML(content, elem_id=unit.elem_id("boxes_area"), visible=False)


def connect_family(unit: UnitPanel) -> None:
    """Show what the chosen model's family takes; what it does not take is hidden, and reset.

    While no family is known, parameters and boxes are only hidden, and pictures are shown.
    """
    takers = {name: (families, param.default) for name, (families, param) in family_fields().items()}
    takers["boxes"] = tuple(entry.name for entry in catalogue.CONTROLS if "boxes" in entry.fields), ""
    unpictured = {entry.name for entry in catalogue.CONTROLS if not entry.needs_image}
    pictures = {name: BASE_FIELDS[name] for name in ("image", "images", "use_init_image")}

    def reveal(model: Any) -> list[dict[str, Any]]:
        family = family_of(model)
        shown = [family in families for families, _ in takers.values()]
        updates = [
            gr.update(visible=visible) if visible or not family else gr.update(visible=False, value=default)
            for visible, (_, default) in zip(shown, takers.values(), strict=True)
        ]
        bare = family in unpictured
        emptied = [gr.update(value=value) if bare else gr.update() for value in pictures.values()]
        return [*updates, gr.update(visible=shown[-1]), gr.update(visible=not bare), *emptied]

    names = (*takers, "boxes_area", "pictures", *pictures)
    model = unit.parts["model"]
    outputs = [unit.parts[name] for name in names]
    model.change(reveal, inputs=[model], outputs=outputs, show_progress=False)


def _param(unit: UnitPanel, name: str, param: Param, *, visible: bool = False) -> Any:
    """The component of a parameter: a slider, a list, a check box or a text field."""
    options: dict[str, Any] = {"label": param.label, "visible": visible}
    if param.kind in {"int", "float"}:
        bounds = {"minimum": param.minimum, "maximum": param.maximum, "step": param.step}
        return unit.show(name, gr.Slider, **options, **bounds)
    if param.kind == "choice":
        return unit.show(name, gr.Dropdown, choices=list(param.choices), **options)
    return unit.show(name, gr.Checkbox if param.kind == "bool" else gr.Textbox, **options)
