"""Shows the fields that the family of the chosen model uses, and hides and empties the others."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_ctrlgen.faces.face import FACE_CHOICE
from lib_ctrlgen.forms.param_fields import uploaded_fields
from lib_ctrlgen.forms.param_html import params_html
from lib_ctrlgen.forms.param_values import PARAM_VALUES, read_param_values, without_foreign
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.forms.used_fields import PANEL_FIELDS, changing_fields, family_params, hidden_fields
from lib_ctrlgen.webui.late import plain

from .components import UnitPanel, family_of
from .unit_params import shown

# Parts of the panel that hold nothing but these fields: they are hidden as a whole.
AREAS: dict[str, tuple[str, ...]] = {
    "pictures": PANEL_FIELDS["image"],
    "mask_area": (*PANEL_FIELDS["mask"], "inpaint_crop"),
    "reference_area": PANEL_FIELDS["references"],
    "batch_area": ("images",),
    "masks_area": ("masks",),
}
# The components that `family_updates` updates, in its order.
FAMILY_PARTS = (PARAM_VALUES, "family_params", "more", "more_params", "face_tools")
IN_AREAS = frozenset(name for fields in AREAS.values() for name in fields)


def groups() -> dict[str, tuple[str, ...]]:
    """The parts of the panel that are shown if one of their fields is."""
    uploads = uploaded_fields()
    return AREAS | {
        "modes": ("control_mode", "resize_mode"),
        "boxes_row": ("boxes",),
        "boxes_area": ("boxes",),
        "cost": ("reuse", "low_vram", "storage"),
        "uploads": tuple(uploads),
        **{f"{name}_area": (name,) for name in uploads},
    }


def connect_family(unit: UnitPanel) -> None:
    """Show the fields that the family of the chosen model uses; the others are hidden, and emptied.

    While no family is known, its fields are only hidden: a pasted infotext may name a model that is missing.
    """
    fields, defaults, parts = changing_fields(), unit_fields(), groups()

    @plain
    def reveal(model: Any, given: str) -> list[dict[str, Any]]:
        family = family_of(model)
        hidden = hidden_fields(family)
        updates = []
        for name in fields:
            update = {} if name in IN_AREAS else {"visible": name not in hidden}
            emptied = {"value": defaults[name]} if family and name in hidden else {}
            updates.append(gr.update(**update, **emptied))
        updates += [gr.update(visible=not hidden.issuperset(own)) for own in parts.values()]
        return [*updates, *family_updates(unit, family, given)]

    model, values = unit.parts["model"], unit.parts[PARAM_VALUES]
    outputs = [unit.parts[name] for name in (*fields, *parts, *FAMILY_PARTS)]
    event = model.change(reveal, inputs=[model, values], outputs=outputs, show_progress=False)
    event.then(**shown(unit))


def family_updates(unit: UnitPanel, family: str, given: str) -> list[dict[str, Any]]:
    """Gradio updates of `FAMILY_PARTS`; `given` is the JSON text with the values of the unit's parameters."""
    text = without_foreign(given, family) if family else given
    values, prefix = read_param_values(text, ""), unit.elem_id("")
    main, advanced = (family_params(family, advanced=which) for which in (False, True))
    has_face = FACE_CHOICE in {**main, **advanced}.values()
    return [
        gr.update(value=text) if family and text != given else gr.update(),
        gr.update(value=params_html(main, values, prefix), visible=bool(main)),
        gr.update(visible=bool(advanced)),
        gr.update(value=params_html(advanced, values, prefix)),
        gr.update(visible=has_face),
    ]
