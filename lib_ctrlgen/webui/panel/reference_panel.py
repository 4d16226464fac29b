"""The components of a unit for further references, shown for models that take them."""

from __future__ import annotations

from typing import get_args

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.request.reference import Combine

from .components import FileInput, PictureInput, UnitPanel

LABELS = {
    "composition_image": "Composition picture",
    "negative_image": "Negative picture",
}


def build_references(unit: UnitPanel) -> None:
    """Further pictures, their weights, how they are combined, and a composition and a negative picture."""
    area = {"open": False, "visible": False, "elem_id": unit.elem_id("reference_area")}
    unit.parts["reference_area"] = gr.Accordion("More pictures", **area)
    with unit.parts["reference_area"]:
        options = {"file_count": "multiple", "file_types": ["image"], "height": 100}
        unit.show("references", FileInput, label="More reference pictures", **options)
        with FormRow():
            text = {"placeholder": "1 each; or in the order of their names: 0.5; 1>0", "max_lines": 1}
            label = "Weights of these pictures"
            unit.show("reference_weights", gr.Textbox, label=label, **text)
            choices = list(get_args(Combine))
            unit.show("combine", gr.Dropdown, label="Combine pictures by", choices=choices)
        with gr.Row():
            for name, label in LABELS.items():
                picture = {"type": "pil", "image_mode": "RGBA", "source": "upload", "height": 180}
                unit.show(name, PictureInput, label=label, **picture)
