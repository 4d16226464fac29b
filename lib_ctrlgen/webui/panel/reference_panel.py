"""The components of a unit for further references, shown for models that take them."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr

from lib_ctrlgen.forms.reference_fields import REFERENCE_FIELDS
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.reference import Combine

from .components import PictureInput, UnitPanel, family_of

LABELS = {"composition_image": "Composition picture", "negative_image": "Negative picture"}


def build_references(unit: UnitPanel) -> None:
    """Further pictures, their weights, how they are combined, and a composition and a negative picture."""
    label = "More reference pictures (by name)"
    options = {"file_count": "multiple", "file_types": ["image"], "height": 120, "visible": False}
    unit.show("references", gr.File, label=label, **options)
    hint = "1 each when empty; numbers or schedules in the order of the names, for example 0.5; 1>0"
    text = {"placeholder": hint, "max_lines": 1, "visible": False}
    unit.show("reference_weights", gr.Textbox, label="Weights of these pictures", **text)
    choices = list(get_args(Combine))
    unit.show("combine", gr.Dropdown, label="Combine pictures by", choices=choices, visible=False)
    for name, label in LABELS.items():
        picture = {"type": "pil", "image_mode": "RGBA", "source": "upload", "height": 180, "visible": False}
        unit.show(name, PictureInput, label=label, **picture)
    takers = {entry.name for entry in catalogue.CONTROLS if "references" in entry.fields}

    def reveal(model: Any) -> list[dict[str, Any]]:
        family = family_of(model)
        if family in takers:
            return [gr.update(visible=True) for _ in REFERENCE_FIELDS]
        if not family:
            return [gr.update(visible=False) for _ in REFERENCE_FIELDS]
        return [gr.update(visible=False, value=default) for default in REFERENCE_FIELDS.values()]

    model = unit.parts["model"]
    outputs = [unit.parts[name] for name in REFERENCE_FIELDS]
    model.change(reveal, inputs=[model], outputs=outputs, show_progress=False)
