"""The fields of the tuner's script on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.tuner_fields import COARSE
from lib_ctrlgen.tuner.axis_choices import axis_choices
from lib_ctrlgen.tuner.cells import LARGEST
from lib_ctrlgen.tuner.search.optuna_package import has_optuna, install_optuna
from lib_ctrlgen.webui.late import Late

LINKS, CELLS = Late("tuner.report_link"), Late("tuner.saved_cell")
AXES = {"x": "Across (X): what varies", "y": "Down (Y)", "z": "One table for each (Z)"}
HINT = "a list such as 0.2, 0.4 or a range such as 0-1 [5]"


def fields(elem_id: Callable[[str], str], tab: str) -> list[Any]:
    """Build the fields; returns those whose values the script gets, first a hidden one for REST."""
    with gr.Column(elem_classes="ctrlgen"):
        return _fields(elem_id, tab)


def _fields(elem_id: Callable[[str], str], tab: str) -> list[Any]:
    parts = [gr.Textbox(value="", visible=False, label="request", elem_id=elem_id("request"))]
    for name, label in AXES.items():
        parts += axis_fields(elem_id, name, label)
    with FormRow():
        seeds = {"minimum": 1, "maximum": 16, "step": 1, "value": 1, "label": "Pictures per cell (seeds)"}
        parts.append(gr.Slider(elem_id=elem_id("seeds"), **seeds))
        label = "Folder name (the name of an earlier run adds to that run)"
        parts.append(gr.Textbox(label=label, max_lines=1, elem_id=elem_id("name")))
    with FormRow():
        parts.append(gr.Checkbox(label=f"Allow more than {LARGEST} pictures", elem_id=elem_id("force")))
        label = "Search the values with this number of pictures (0: make the whole grid)"
        parts.append(gr.Number(label=label, value=0, precision=0, elem_id=elem_id("budget")))
        label = f"From coarse to fine: all cells with {COARSE:.0%} of the steps, then the better half in full"
        parts.append(gr.Checkbox(label=label, elem_id=elem_id("coarse")))
    if not has_optuna():
        gr.HTML(optuna_note(), elem_id=elem_id("optuna"))
    gr.HTML(cost_area(tab), elem_id=elem_id("cost"))
    buttons(elem_id, tab, parts[8])
    return parts


def axis_fields(elem_id: Callable[[str], str], name: str, label: str) -> list[Any]:
    """Build the two fields of an axis."""
    labels = ["", *(each.label for each in axis_choices())]
    with FormRow():
        options = {"label": label, "choices": labels, "value": "", "allow_custom_value": True}
        place = gr.Dropdown(elem_id=elem_id(f"{name}_path"), **options)
        values = gr.Textbox(label="Values", placeholder=HINT, max_lines=8, elem_id=elem_id(f"{name}_values"))
    return [place, values]


def optuna_note() -> str:
    """The sentence that a search needs Optuna, with the command that installs it, as HTML."""
    command = f"<code>{escape(install_optuna())}</code>"
    said = "A search needs the package Optuna, which is not here. CtrlGen does not install it by itself. Run:"
    return f'<p class="ctrlgen-note">{said} {command}</p>'


def cost_area(tab: str) -> str:
    """The area in which javascript/editors/tuner.js shows what a run costs, with the axes' examples."""
    known = {each.label: [each.example, each.about] for each in axis_choices()}
    choices = escape(json.dumps(known), quote=True)
    return (
        f'<div class="ctrlgen-tuner" data-tab="{tab}" data-share="{COARSE}" data-most="{LARGEST}" '
        f'data-choices="{choices}"><p class="ctrlgen-cost" role="status">Choose what varies.</p></div>'
    )


def buttons(elem_id: Callable[[str], str], tab: str, name: Any) -> None:
    """Build the buttons; `name` is the field of the folder's name."""
    with FormRow():
        send = gr.Button("Send this cell to the panel", elem_id=elem_id("send"))
        send.click(fn=None, _js=f"() => ctrlgen.send('{tab}')")
        report = gr.Button("Open the report", elem_id=elem_id("report"))
    link = gr.HTML(elem_id=elem_id("link"))
    shown = report.click(
        fn=partial(LINKS.report_link, tab), inputs=[name], outputs=[link], show_progress=False
    )
    shown.then(fn=None, _js=f"() => ctrlgenTuner.open('{tab}')")
    recipe_fields(elem_id, tab)


def recipe_fields(elem_id: Callable[[str], str], tab: str) -> None:
    """Build the fields with which the gallery's cell is saved as a recipe."""
    with FormRow():
        label = "Save the gallery's cell as the recipe"
        name = gr.Textbox(label=label, placeholder="name of the recipe", elem_id=elem_id("recipe"))
        save = gr.Button("Save this cell as a recipe", elem_id=elem_id("save_recipe"))
    page = gr.Textbox(label="page", elem_id=elem_id("page"), elem_classes=["ctrlgen-hidden"])
    said = gr.HTML(elem_id=elem_id("recipe_note"))
    script = f"(...args) => ctrlgenRecipes.page('{tab}', args)"
    save.click(CELLS.saved_cell, _js=script, inputs=[page, name], outputs=[said], show_progress=False)
