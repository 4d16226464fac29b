"""Shows the fields that the family of the chosen model uses, and hides and empties the others."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_ctrlgen.faces.face import FACE_CHOICE
from lib_ctrlgen.forms.param_fields import family_fields
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.forms.used_fields import PANEL_FIELDS, changing_fields, hidden_fields

from .components import UnitPanel, family_of

# Parts of the panel that hold nothing but these fields: they are hidden as a whole.
AREAS: dict[str, tuple[str, ...]] = {
    "pictures": PANEL_FIELDS["image"],
    "mask_area": (*PANEL_FIELDS["mask"], "inpaint_crop"),
    "reference_area": PANEL_FIELDS["references"],
    "batch_area": ("images",),
    "masks_area": ("masks",),
}
IN_AREAS = frozenset(name for fields in AREAS.values() for name in fields)


def groups() -> dict[str, tuple[str, ...]]:
    """The parts of the panel that are shown if one of their fields is."""
    params = {name: param for name, (_, param) in family_fields().items()}
    uploads = tuple(name for name, param in params.items() if param.uploaded)
    return AREAS | {
        "modes": ("control_mode", "resize_mode"),
        "boxes_row": ("boxes",),
        "boxes_area": ("boxes",),
        "cost": ("reuse", "low_vram", "storage"),
        "face_tools": tuple(name for name, param in params.items() if param is FACE_CHOICE),
        "uploads": uploads,
        **{f"{name}_area": (name,) for name in uploads},
        "more": tuple(name for name, param in params.items() if param.advanced),
        "family_params": tuple(
            name for name, param in params.items() if not param.advanced and not param.uploaded
        ),
    }


def connect_family(unit: UnitPanel) -> None:
    """Show the fields that the family of the chosen model uses; the others are hidden, and emptied.

    While no family is known, its fields are only hidden: a pasted infotext may name a model that is missing.
    """
    fields, defaults, parts = changing_fields(), unit_fields(), groups()

    def reveal(model: Any) -> list[dict[str, Any]]:
        family = family_of(model)
        hidden = hidden_fields(family)
        updates = []
        for name in fields:
            update = {} if name in IN_AREAS else {"visible": name not in hidden}
            emptied = {"value": defaults[name]} if family and name in hidden else {}
            updates.append(gr.update(**update, **emptied))
        return [*updates, *(gr.update(visible=not hidden.issuperset(own)) for own in parts.values())]

    model = unit.parts["model"]
    outputs = [unit.parts[name] for name in (*fields, *parts)]
    model.change(reveal, inputs=[model], outputs=outputs, show_progress=False)
