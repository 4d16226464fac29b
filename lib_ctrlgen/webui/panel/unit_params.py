"""The components of a unit for the parameters of its preprocessor and of its control family."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_ctrlgen.forms.unit_fields import detects, family_fields, param_fields
from lib_ctrlgen.preprocessors.detection import RESOLUTION
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
    """Build the families' parameters; those of the chosen model's family are shown, others are reset."""
    fields = family_fields()
    parts = [_param(unit, name, param) for name, (_, param) in fields.items()]

    def reveal(model: Any) -> list[dict[str, Any]]:
        family = family_of(model)
        if not family:
            return [gr.update(visible=False) for _ in fields]
        return [
            gr.update(visible=True) if family in families else gr.update(visible=False, value=param.default)
            for families, param in fields.values()
        ]

    model = unit.parts["model"]
    model.change(reveal, inputs=[model], outputs=parts, show_progress=False)


def _param(unit: UnitPanel, name: str, param: Param, *, visible: bool = False) -> Any:
    """The component of a parameter: a slider, a list, a check box or a text field."""
    options: dict[str, Any] = {"label": param.label, "visible": visible}
    if param.kind in {"int", "float"}:
        bounds = {"minimum": param.minimum, "maximum": param.maximum, "step": param.step}
        return unit.show(name, gr.Slider, **options, **bounds)
    if param.kind == "choice":
        return unit.show(name, gr.Dropdown, choices=list(param.choices), **options)
    return unit.show(name, gr.Checkbox if param.kind == "bool" else gr.Textbox, **options)
