"""Fields and callbacks of the page with which javascript/editors/units.js moves, copies and pastes units.

Values move between units in the page, by an event of gradio whose outputs are the fields of all units, so
that Generate sends what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.forms.field_errors import mark_of_error
from lib_ctrlgen.forms.field_places import PanelValues, label_in_unit
from lib_ctrlgen.forms.strengths import LEVELS
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.webui.settings import MAX_UNITS

from .components import Panel, UnitPanel
from .infotext import MODEL, listed_name
from .live_preview import connect_live_preview
from .preview import error_html
from .strength_panel import presets_text

if TYPE_CHECKING:
    from lib_ctrlgen.forms.unit_text import PastedUnit, Upload

# What moves with a unit beside its fields, with the values of an unused unit.
SHOWN = {
    "map": None,
    "map_error": "",
    "kind": None,
    "strength": LEVELS["High"],
    "presets": presets_text(""),
}
UNKNOWN = "Not in the pasted text: {names}. Choose these pictures again."
WRONG_TEXT = "Wrong in the pasted text: {said}."


def build_unit_tabs(panel: Panel, units: Sequence[UnitPanel]) -> None:
    """Build the fields, after all units are built."""
    defaults = unit_fields() | SHOWN
    about = {"fields": list(defaults), "defaults": defaults, "units": len(units), "most": MAX_UNITS}
    content = f'<div data-tab="{panel.tab}" data-about="{escape(json.dumps(about))}"></div>'
    gr.HTML(content, elem_id=panel.elem_id("units"), elem_classes=["ctrlgen-hidden"])
    every = [unit.parts[name] for unit in units for name in defaults]
    every += [unit.parts["kind_undo"] for unit in units]  # hidden when a unit's values have changed
    move = _hidden_button(panel, "units_move")
    move.click(None, _js=f"(...all) => ctrlgenUnits.moved('{panel.tab}', all)", outputs=every)
    _connect_text(panel, units[0])
    connect_live_preview(panel, units)


def _connect_text(panel: Panel, first: UnitPanel) -> None:
    """Connect copying and pasting. `first` only says how gradio converts the values that the page sends."""
    text, said = (
        gr.Textbox(visible=False, elem_id=panel.elem_id(f"units_{name}")) for name in ("text", "said")
    )
    index = gr.Number(visible=False, value=0, elem_id=panel.elem_id("units_index"))
    pictures = gr.Checkbox(visible=False, value=False, elem_id=panel.elem_id("units_pictures"))
    marks = gr.HTML(elem_id=panel.elem_id("units_wrong"), elem_classes=["ctrlgen-hidden"])
    fields = [first.parts[name] for name in unit_fields()]
    shown = {"inputs": [text, said], "fn": None}
    copy, paste = _hidden_button(panel, "units_copy"), _hidden_button(panel, "units_paste")
    copy.click(
        copied,
        _js=f"() => ctrlgenUnits.chosen('{panel.tab}')",
        inputs=[index, pictures, *fields],
        outputs=[text, said, marks],
        show_progress=False,
    ).then(_js=f"(text, said) => ctrlgenUnits.copied('{panel.tab}', text, said)", **shown)

    def pasted(text: str) -> tuple[str, str]:
        return pasted_values(text, first.parts)

    paste.click(
        pasted,
        _js=f"() => ctrlgenUnits.given('{panel.tab}')",
        inputs=[text],
        outputs=[text, said],
        show_progress=False,
    ).then(_js=f"(text, said) => ctrlgenUnits.pasted('{panel.tab}', text, said)", **shown)


def copied(index: float, pictures: bool, *values: Any) -> tuple[str, str, str]:
    """The text of a unit; or nothing, why there is none, and the mark of the wrong field as HTML."""
    from lib_ctrlgen.forms.unit_text import unit_text

    fields = dict(zip(unit_fields(), values, strict=True))
    try:
        return unit_text(fields, int(index), pictures=pictures), "", ""
    except CtrlGenError as error:
        known = PanelValues({int(index): fields})
        return "", mark_of_error(error, known).sentence, error_html(error, known)


def pasted_values(text: str, parts: Mapping[str, Any]) -> tuple[str, str]:
    """The values of the fields as the page keeps them, in JSON with the missing pictures; or why not.

    `parts` are a unit's components, which convert the files.
    """
    from lib_ctrlgen.forms.unit_text import read_unit_text

    try:
        unit = read_unit_text(text)
    except CtrlGenError as error:
        return "", wrong_text(error)
    values = (
        unit.values | unit.pictures | {name: _files(parts[name], each) for name, each in unit.files.items()}
    )
    values[MODEL] = listed_name(values[MODEL])
    return json.dumps({"values": values, "missing": unit.missing}), _note(unit)


def wrong_text(error: CtrlGenError) -> str:
    """What is wrong in a pasted text, which is none of the panel's units yet."""
    field = label_in_unit(error.path) if isinstance(error, RequestError) else ""
    text = mark_of_error(error).text.removesuffix(".")
    return WRONG_TEXT.format(said=f"{field}: {text}" if field else text)


def _note(unit: PastedUnit) -> str:
    names = ", ".join(label_in_unit(f"$.units[0].{path}") for path in unit.missing)
    return UNKNOWN.format(names=names) if names else ""


def _files(component: Any, files: Sequence[Upload]) -> Any:
    """The value of a field with several files, written to a temporary folder for gradio."""
    folder = Path(mkdtemp(prefix="ctrlgen-pasted-"))
    for file in files:
        (folder / file.name).write_bytes(file.content)
    return component.postprocess([str(folder / file.name) for file in files])


def _hidden_button(panel: Panel, name: str) -> Any:
    return gr.Button(name, elem_id=panel.elem_id(name), elem_classes=["ctrlgen-hidden"])
