"""The panel: an accordion with a tab for each unit, the blend, schedules, recipes and models."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import gradio as gr
from modules import devices
from modules.call_queue import queue_lock

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.forms.tooltips import PANEL_TOOLTIPS, kind_tooltips, tuner_tooltips, unit_tooltips
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.preprocessors.isolated.terms import under
from lib_ctrlgen.request.progress import detecting
from lib_ctrlgen.webui.controlnet.name import taken_note
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.progress_text import progress_text
from lib_ctrlgen.webui.settings import model_store, offloads, terms, unit_count

from .advice_panel import build_advice, connect_advice
from .blend_tab import build_blend
from .components import Panel, PictureInput, UnitPanel, build_picture
from .curves import build_unit_curve
from .download_box import build_offers, connect_offers
from .error_list import build_errors
from .face_panel import build_uploads, connect_faces
from .families import connect_family
from .hidden_fields import SIZE, build_hidden
from .kinds_panel import build_kinds, connect_kinds
from .models_table import build_models
from .more import build_more
from .picture_menu import build_picture_menu, connect_picture_menu
from .pose_panel import build_pose, connect_pose
from .preview import error_html
from .recipes_panel import build_recipes
from .reference_panel import build_references
from .schedules_tab import build_schedules
from .strength_panel import build_strength, connect_strength
from .tiny_model import build_tiny_model
from .unit_params import build_boxes
from .unit_tabs import build_unit_tabs


def build_panel(tab: str) -> Panel:
    """Build the panel for `txt2img` or `img2img`, inside the WebUI's layout."""
    panel = Panel(tab)
    with gr.Accordion("CtrlGen", open=False, elem_id=panel.elem_id("panel"), elem_classes="ctrlgen"):
        panel.add(gr.Textbox(value="", visible=False, label="request", elem_id=panel.elem_id("request")))
        build_errors(panel)
        if note := taken_note():
            gr.HTML(f"<p>{escape(note)}.</p>", elem_id=panel.elem_id("controlnet_note"))
        _build_tabs(panel)
        build_tiny_model(panel)
        _build_tooltips(panel)
    return panel


def _build_tabs(panel: Panel) -> None:
    """Build the tabs. The script's arguments are in another order than the tabs."""
    units = [UnitPanel(panel, index) for index in range(unit_count())]
    with gr.Tabs(elem_id=panel.elem_id("tabs")):
        for unit in units:
            with gr.Tab(f"Unit {unit.index}", elem_id=panel.elem_id(f"unit{unit.index}_tab")):
                build_unit(unit)
        with gr.Tab("Blend", elem_id=panel.elem_id("blend_tab")):
            blend = build_blend(panel)
        with gr.Tab("Schedules", elem_id=panel.elem_id("schedules_tab")):
            whole, connect_plan = build_schedules(panel)
        for component in (*whole, *blend):
            panel.add(component)
        for unit in units:
            unit.register()
        with gr.Tab("Recipes", elem_id=panel.elem_id("recipes_tab")):
            build_recipes(panel)
        with gr.Tab("Models", elem_id=panel.elem_id("models_tab")):
            build_models(panel)
    build_unit_tabs(panel, units)
    connect_plan()


def build_unit(unit: UnitPanel) -> None:
    """Build one unit's tab."""
    with gr.Column(elem_id=unit.elem_id("panel"), elem_classes="ctrlgen-unit"):
        build_hidden(unit)
        unit.show("enabled", gr.Checkbox, label="Enable", elem_classes="ctrlgen-enabled")
        unit.parts["pictures"] = gr.Row(elem_classes="ctrlgen-pictures")
        with unit.parts["pictures"]:
            _build_pictures(unit)
        build_kinds(unit)
        build_advice(unit)
        build_offers(unit)
        _build_family(unit)
        build_strength(unit)
        build_unit_curve(unit)
        build_pose(unit)
        build_more(unit)
    connect_unit(unit)


def connect_unit(unit: UnitPanel) -> None:
    """Connect what happens when a unit's fields change and its buttons are pressed."""
    connect_family(unit)
    connect_faces(unit)
    size = [unit.parts[name] for name in SIZE]
    connect_offers(unit, _connect_map_preview(unit, size))
    connect_pose(unit, *size)
    connect_kinds(unit)
    connect_strength(unit)
    connect_advice(unit)
    connect_picture_menu(unit)


def _build_family(unit: UnitPanel) -> None:
    """Build the pictures and boxes that only some families use, hidden at first."""
    build_uploads(unit)
    build_references(unit)
    unit.parts["boxes_row"] = gr.Row(visible=False)
    with unit.parts["boxes_row"]:
        build_boxes(unit)


def _build_pictures(unit: UnitPanel) -> None:
    with gr.Column(min_width=220, scale=3):
        build_picture(unit, "image", "Picture")
        build_picture_menu(unit)
    with gr.Column(min_width=150, scale=1, elem_classes="ctrlgen-beside"):
        options = {"elem_id": unit.elem_id("map"), "interactive": False, "height": 130, "show_label": True}
        unit.parts["map"] = PictureInput(label="Control map", **options)
        unit.parts["show_map"] = gr.Button("Preview control map", elem_id=unit.elem_id("show_map"), size="sm")
        unit.parts["map_error"] = gr.HTML(elem_id=unit.elem_id("map_error"))


def _build_tooltips(panel: Panel) -> None:
    """What the page shows when the pointer rests on a field or on a kind."""
    titles = {panel.elem_id(name): text for name, text in PANEL_TOOLTIPS.items()} | tuner_tooltips(panel.tab)
    texts = {"unit": unit_tooltips(), "kind": kind_tooltips(), "panel": titles}
    gr.HTML(f"<div class='ctrlgen-tooltips ctrlgen-hidden' data-texts='{escape(json.dumps(texts))}'></div>")


def _connect_map_preview(unit: UnitPanel, size: list[Any]) -> Any:
    """Connect the button that previews the control map, and return its event."""
    names = tuple(unit_fields())

    @plain
    def preview(width: float, height: float, *values: Any) -> tuple[Any, str]:
        from lib_ctrlgen.forms.map_preview import control_map

        fields, size = dict(zip(names, values, strict=True)), (int(width), int(height))
        try:
            shown = progress_text(detecting(str(fields["preprocessor"]), unit.index))
            with queue_lock, shown, under(terms(lambda: False)):  # one generation or detection at a time
                device, away = str(devices.device), offloads()
                return control_map(fields, *size, unit.index, model_store(), device, away=away), ""
        except CtrlGenError as error:
            return None, error_html(error, PanelValues({unit.index: fields}))

    return unit.parts["show_map"].click(
        preview,
        _js=f"(...args) => ctrlgen.size('{unit.panel.tab}', args)",
        inputs=[*size, *(unit.parts[name] for name in names)],
        outputs=[unit.parts["map"], unit.parts["map_error"]],
    )
