"""The panel: an accordion with one tab per unit, and the preview of the plan."""

from __future__ import annotations

from html import escape
from typing import Any, get_args

import gradio as gr
from modules import devices
from modules.call_queue import queue_lock
from modules.ui_common import create_refresh_button
from modules.ui_components import FormRow

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.map_preview import control_map
from lib_ctrlgen.forms.unit_fields import LOW_VRAM, SLIDER_MAX, WHOLE_FIELDS, unit_fields
from lib_ctrlgen.preprocessors.isolated.terms import under
from lib_ctrlgen.request.catalogue import preprocessor_names
from lib_ctrlgen.request.spec import ControlMode, ResizeMode, Storage
from lib_ctrlgen.webui.controlnet.name import taken_note
from lib_ctrlgen.webui.settings import model_store, offloads, terms, unit_count

from .blend_tab import build_blend
from .components import Panel, PictureInput, UnitPanel, model_choices
from .curves import build_all_curves, build_unit_curve
from .download_box import build_offers, connect_offers
from .face_panel import build_uploads, connect_faces
from .families import connect_family
from .infotext import PastedSetting
from .models_table import build_models
from .pose_panel import build_pose, connect_pose
from .preview import error_html, plan_html
from .reference_panel import build_references
from .tiny_model import build_tiny_model
from .unit_params import build_boxes, build_family_params, build_params

CONTROL_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "The control is more important",
}
RESIZE_MODES = {
    "just_resize": "Just resize",
    "crop_and_resize": "Crop and resize",
    "resize_and_fill": "Resize and fill",
}
PROMPTS = {"prompt": "$.prompt", "negative": "$.negative_prompt"}  # their paths in the plan
SCHEDULE_EXAMPLE = "1@0, 1@0.3, 0@0.6"
SCHEDULE_HELP = (
    "weight@progress, progress from 0 to 1. Also 1>0.2, easings (0@0.5 smooth), windows (1 in 0..0.5)"
)


def build_panel(tab: str) -> Panel:
    """Build the panel for `txt2img` or `img2img`, inside the WebUI's layout."""
    panel = Panel(tab)
    with gr.Accordion("CtrlGen", open=False, elem_id=panel.elem_id("panel"), elem_classes="ctrlgen"):
        panel.add(gr.Textbox(value="", visible=False, label="request", elem_id=panel.elem_id("request")))
        if note := taken_note():
            gr.HTML(f"<p>{escape(note)}.</p>", elem_id=panel.elem_id("controlnet_note"))
        build_whole(panel)
        with gr.Accordion("Blend", open=False, elem_id=panel.elem_id("blend_panel")):
            build_blend(panel)
        with gr.Tabs(elem_id=panel.elem_id("tabs")):
            for index in range(unit_count()):
                with gr.Tab(f"Unit {index}", elem_id=panel.elem_id(f"unit{index}_tab")):
                    build_unit(UnitPanel(panel, index))
        build_all_curves(panel)
        build_plan(panel)
        build_models(panel)
        build_tiny_model(panel)
    return panel


def build_whole(panel: Panel) -> None:
    """Build the fields for the whole generation, which act also without units."""
    labels = {
        "cfg_scale": ("Guidance schedule (replaces CFG Scale)", "for example 7@0, 3@1"),
        "hires_cfg_scale": ("Guidance in the hires pass", "default: as in the first pass"),
        "prompt_weights": ("Named prompt weights", "glow=1>0.5 for a prompt with (neon sign:glow=1.2)"),
    }
    with FormRow():
        for name, (label, example) in labels.items():
            options = {"placeholder": example, "max_lines": 1, "elem_id": panel.elem_id(name)}
            box = panel.add(gr.Textbox(value=WHOLE_FIELDS[name], label=label, **options))
            panel.paste_fields.append((box, PastedSetting(name)))


def build_unit(unit: UnitPanel) -> None:
    """Build one unit's tab."""
    with gr.Column(elem_id=unit.elem_id("panel"), elem_classes="ctrlgen-unit"):
        unit.show("enabled", gr.Checkbox, label="Enable", elem_classes="ctrlgen-enabled")
        unit.parts["pictures"] = gr.Row()
        with unit.parts["pictures"]:
            _build_pictures(unit)
        with FormRow():
            _build_model(unit)
            choices = list(preprocessor_names())  # gradio 3.41 shows a pair as one text
            options = {"choices": choices, "allow_custom_value": True, "scale": 2}
            unit.show(
                "preprocessor", gr.Dropdown, label="Preprocessor (or several: canny | invert)", **options
            )
        build_offers(unit)
        build_params(unit)
        build_pose(unit)
        _build_family(unit)
        _build_weight(unit)
        build_unit_curve(unit)
        unit.parts["modes"] = FormRow()
        with unit.parts["modes"]:
            _choice(unit, "control_mode", CONTROL_MODES, get_args(ControlMode), "Control mode")
            _choice(unit, "resize_mode", RESIZE_MODES, get_args(ResizeMode), "Resize mode")
        _build_advanced(unit)
    unit.register()
    connect_family(unit)
    connect_faces(unit)
    size = [_hidden_number(unit, name) for name in ("width", "height")]
    connect_offers(unit, _connect_map_preview(unit, size))
    connect_pose(unit, *size)
    connect_last_result(unit)


def _build_family(unit: UnitPanel) -> None:
    """Build the fields that only some families use, hidden at first."""
    unit.parts["family_params"] = FormRow(visible=False)
    with unit.parts["family_params"]:
        build_family_params(unit, advanced=False)
    build_uploads(unit)
    build_references(unit)
    unit.parts["boxes_row"] = gr.Row(visible=False)
    with unit.parts["boxes_row"]:
        build_boxes(unit)
    more = {"open": False, "visible": False, "elem_id": unit.elem_id("more")}
    unit.parts["more"] = gr.Accordion("More of this control", **more)
    with unit.parts["more"], FormRow():
        build_family_params(unit, advanced=True)


def _build_pictures(unit: UnitPanel) -> None:
    with gr.Column(min_width=220):
        _picture(unit, "image", "Picture")
        unit.parts["last"] = gr.Button("Use the last result", elem_id=unit.elem_id("last"), size="sm")
        label = "Use the img2img picture instead"
        unit.show("use_init_image", gr.Checkbox, label=label, visible=unit.panel.tab == "img2img")
        with gr.Accordion("Pictures for a batch", open=False, elem_id=unit.elem_id("many")):
            _pictures(unit, "images", "One for each image, by name")
    with gr.Column(min_width=220):
        options = {"elem_id": unit.elem_id("map"), "interactive": False, "height": 240, "show_label": True}
        unit.parts["map"] = gr.Image(label="Control map", **options)
        unit.parts["show_map"] = gr.Button("Preview control map", elem_id=unit.elem_id("show_map"), size="sm")
        unit.parts["map_error"] = gr.HTML(elem_id=unit.elem_id("map_error"))


def _picture(unit: UnitPanel, name: str, label: str, height: int = 240) -> None:
    options = {"type": "pil", "image_mode": "RGBA", "source": "upload", "tool": "editor", "height": height}
    unit.show(name, PictureInput, label=label, **options)


def _pictures(unit: UnitPanel, name: str, label: str) -> None:
    options = {"file_count": "multiple", "file_types": ["image", ".json"], "height": 120}
    unit.show(name, gr.File, label=label, **options)


def _build_model(unit: UnitPanel) -> None:
    choices = model_choices()["choices"]
    model = unit.show("model", gr.Dropdown, label="Model", choices=choices, scale=3)
    create_refresh_button(model, model_store().refresh, model_choices, unit.elem_id("refresh"))


def _build_weight(unit: UnitPanel) -> None:
    with FormRow(elem_classes="ctrlgen-weight"):
        limits = {"minimum": 0.0, "maximum": SLIDER_MAX, "step": 0.05}
        unit.show("weight", gr.Slider, label="Weight", **limits)
        unit.show(
            "weight_schedule",
            gr.Textbox,
            label="Weight schedule instead of the slider",
            placeholder=f"for example {SCHEDULE_EXAMPLE}",
            info=SCHEDULE_HELP,
            max_lines=1,
        )
    with FormRow():
        limits = {"minimum": 0.0, "maximum": 1.0, "step": 0.01}
        unit.show("guidance_start", gr.Slider, label="Start (share of the steps)", **limits)
        unit.show("guidance_end", gr.Slider, label="End (share of the steps)", **limits)
        label, hint = "Weight in the hires pass", "as in the first pass"
        text = {"label": label, "placeholder": hint, "max_lines": 1}
        unit.show("hires", gr.Textbox, visible=unit.panel.tab == "txt2img", **text)


def _choice(unit: UnitPanel, name: str, titles: dict[str, str], values: tuple[str, ...], label: str) -> None:
    unit.show(name, gr.Radio, label=label, choices=[(titles[value], value) for value in values])


def _build_advanced(unit: UnitPanel) -> None:
    with gr.Accordion("Mask, layer weights, parameters, cost", open=False, elem_id=unit.elem_id("advanced")):
        unit.parts["mask_area"] = gr.Column()
        with unit.parts["mask_area"]:
            _build_mask(unit)
        unit.show(
            "layer_weights",
            gr.Textbox,
            label="Layer weights",
            placeholder="one number or schedule per layer, separated by ; (13 for SD1.5 ControlNets)",
            max_lines=1,
        )
        unit.show(
            "params",
            gr.Textbox,
            label="Further parameters (JSON)",
            placeholder='for example {"image_encoder": "clip_vision folder"}',
            max_lines=1,
        )
        _build_cost(unit)


def _build_mask(unit: UnitPanel) -> None:
    _picture(unit, "mask", "Mask (the unit acts where it is white; without a mask everywhere)", 180)
    _pictures(unit, "masks", "Or a mask for each image of the batch, by name")
    hint = "number or schedule from 0 (as without a mask) to 1; default: 1"
    unit.show("mask_strength", gr.Textbox, label="Mask strength", placeholder=hint, max_lines=1)
    limits = {"minimum": 0.0, "maximum": 256.0, "step": 1.0}
    unit.show("mask_feather", gr.Slider, label="Mask feather (pixels)", **limits)
    label = 'Crop picture and mask to the area that "Only masked" inpaints'
    unit.show("inpaint_crop", gr.Checkbox, label=label, visible=unit.panel.tab == "img2img")


def _build_cost(unit: UnitPanel) -> None:
    """Build the fields that save a unit's time or memory."""
    unit.parts["cost"] = FormRow()
    with unit.parts["cost"]:
        label = "Run the network at every n-th step only"
        unit.show("reuse", gr.Slider, label=label, minimum=1, maximum=20, step=1)
        places = list(LOW_VRAM)
        unit.show("low_vram", gr.Dropdown, label="Keep weights in CPU memory between uses", choices=places)
        unit.show("storage", gr.Dropdown, label="Weights stored as", choices=list(get_args(Storage)))


def connect_last_result(unit: UnitPanel) -> None:
    """Let the button copy the picture of the tab's gallery into the unit, in the browser."""
    script = f"(picture) => ctrlgen.last('{unit.panel.tab}', picture)"
    parts = [unit.parts["image"], unit.parts["map_error"]]
    unit.parts["last"].click(fn=None, _js=script, inputs=parts[:1], outputs=parts)


def _connect_map_preview(unit: UnitPanel, size: list[Any]) -> Any:
    """Connect the button that previews the control map, and return its event."""
    names = tuple(unit_fields())

    def preview(width: float, height: float, *values: Any) -> tuple[Any, str]:
        try:
            fields, size = dict(zip(names, values, strict=True)), (int(width), int(height))
            with queue_lock, under(terms(lambda: False)):  # one generation or detection at a time
                device, away = str(devices.device), offloads()
                return control_map(fields, *size, unit.index, model_store(), device, away=away), ""
        except CtrlGenError as error:
            return None, error_html(error)

    return unit.parts["show_map"].click(
        preview,
        _js=f"(...args) => ctrlgen.size('{unit.panel.tab}', args)",
        inputs=[*size, *(unit.parts[name] for name in names)],
        outputs=[unit.parts["map"], unit.parts["map_error"]],
    )


def _hidden_number(unit: UnitPanel, name: str) -> Any:
    return gr.Number(value=512, visible=False, elem_id=unit.elem_id(name))


def build_plan(panel: Panel) -> None:
    """Build the button that previews the plan, and its output."""
    with gr.Row():
        button = gr.Button("Preview plan", elem_id=panel.elem_id("show_plan"), size="sm")
    shown = gr.HTML(elem_id=panel.elem_id("plan"))
    steps = gr.Number(value=20, visible=False, elem_id=panel.elem_id("plan_steps"))
    texts = [gr.Textbox(visible=False, elem_id=panel.elem_id(f"plan_{name}")) for name in PROMPTS]

    def preview(steps: float, prompt: str, negative: str, *panel: Any) -> str:
        return plan_html(
            panel, max(1, int(steps)), dict(zip(PROMPTS.values(), (prompt, negative), strict=True))
        )

    button.click(
        preview,
        _js=f"(...args) => ctrlgen.steps('{panel.tab}', args)",
        inputs=[steps, *texts, *panel.components[1:]],
        outputs=[shown],
        show_progress=False,
    )
