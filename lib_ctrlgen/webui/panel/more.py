"""What stands under "More" in a unit: model and preprocessor, then weight, fit, mask, batch and cost."""

from __future__ import annotations

from typing import get_args

import gradio as gr
from modules.ui_common import create_refresh_button
from modules.ui_components import FormRow

from lib_ctrlgen.forms.unit_fields import LOW_VRAM, SLIDER_MAX
from lib_ctrlgen.request.catalogue import preprocessor_names
from lib_ctrlgen.request.spec import ControlMode, ResizeMode, Storage
from lib_ctrlgen.webui.settings import model_store

from .components import UnitPanel, build_files, build_picture, model_choices
from .unit_params import build_family_params, build_params

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
SCHEDULE_EXAMPLE = "1@0, 1@0.3, 0@0.6"
SCHEDULE_HELP = (
    "weight@progress, progress from 0 to 1. Also 1>0.2, easings (0@0.5 smooth), windows (1 in 0..0.5)"
)


def build_more(unit: UnitPanel) -> None:
    """Build the accordion; its tabs show one group of fields at a time."""
    unit.parts["details"] = gr.Accordion("More", open=False, elem_id=unit.elem_id("details"))
    with unit.parts["details"]:
        with FormRow():
            _build_model(unit)
            choices = list(preprocessor_names())  # gradio 3.41 shows a pair as one text
            options = {"choices": choices, "allow_custom_value": True, "scale": 2}
            unit.show("preprocessor", gr.Dropdown, label="Preprocessor", **options)
        build_params(unit)
        build_family_params(unit)
        with gr.Tabs(elem_id=unit.elem_id("advanced"), elem_classes=["ctrlgen-groups"]):
            with gr.Tab("Weight"):
                _build_weight(unit)
            with gr.Tab("Mode"):
                _build_modes(unit)
            with gr.Tab("Mask"):
                _build_mask(unit)
            with gr.Tab("Batch"):
                _build_batch(unit)
            with gr.Tab("Memory"):
                _build_cost(unit)


def _build_model(unit: UnitPanel) -> None:
    choices = model_choices()["choices"]
    model = unit.show("model", gr.Dropdown, label="Model", choices=choices, scale=3)
    refresh = (model_store().refresh, model_choices, unit.elem_id("refresh"))
    unit.parts["refresh"] = create_refresh_button(model, *refresh)


def _build_weight(unit: UnitPanel) -> None:
    with FormRow(elem_classes="ctrlgen-weight"):
        limits = {"minimum": 0.0, "maximum": SLIDER_MAX, "step": 0.05}
        unit.show("weight", gr.Slider, label="Weight", **limits)
        text = {"placeholder": f"for example {SCHEDULE_EXAMPLE}", "info": SCHEDULE_HELP, "max_lines": 1}
        unit.show("weight_schedule", gr.Textbox, label="Weight schedule", **text)
    with FormRow():
        limits = {"minimum": 0.0, "maximum": 1.0, "step": 0.01}
        unit.show("guidance_start", gr.Slider, label="Start", **limits)
        unit.show("guidance_end", gr.Slider, label="End", **limits)
        text = {"label": "Weight in the hires pass", "placeholder": "as in the first pass", "max_lines": 1}
        unit.show("hires", gr.Textbox, visible=unit.panel.tab == "txt2img", **text)
    hint = "one number or schedule per layer, separated by ; (13 for SD1.5 ControlNets)"
    unit.show("layer_weights", gr.Textbox, label="Layer weights", placeholder=hint, max_lines=1)


def _build_modes(unit: UnitPanel) -> None:
    unit.parts["modes"] = FormRow()
    with unit.parts["modes"]:
        _choice(unit, "control_mode", CONTROL_MODES, get_args(ControlMode), "Control mode")
        _choice(unit, "resize_mode", RESIZE_MODES, get_args(ResizeMode), "Resize mode")


def _choice(unit: UnitPanel, name: str, titles: dict[str, str], values: tuple[str, ...], label: str) -> None:
    unit.show(name, gr.Radio, label=label, choices=[(titles[value], value) for value in values])


def _build_mask(unit: UnitPanel) -> None:
    unit.parts["mask_area"] = gr.Row()
    with unit.parts["mask_area"]:
        with gr.Column(min_width=220):
            build_picture(unit, "mask", "Mask (white: the unit acts)", 180)
        with gr.Column(min_width=220):
            hint = "number or schedule from 0 to 1; default: 1"
            unit.show("mask_strength", gr.Textbox, label="Mask strength", placeholder=hint, max_lines=1)
            limits = {"minimum": 0.0, "maximum": 256.0, "step": 1.0}
            unit.show("mask_feather", gr.Slider, label="Mask feather (pixels)", **limits)
            label = 'Crop to the area of "Only masked"'
            unit.show("inpaint_crop", gr.Checkbox, label=label, visible=unit.panel.tab == "img2img")


def _build_batch(unit: UnitPanel) -> None:
    unit.parts["masks_area"] = gr.Column(min_width=220)
    with unit.parts["masks_area"]:
        build_files(unit, "masks", "Masks, one for each image")


def _build_cost(unit: UnitPanel) -> None:
    """Build the fields that save a unit's time or memory, and the field for any further parameter."""
    unit.parts["cost"] = FormRow()
    with unit.parts["cost"]:
        unit.show("reuse", gr.Slider, label="Run at every n-th step", minimum=1, maximum=20, step=1)
        unit.show("low_vram", gr.Dropdown, label="Weights in CPU memory", choices=list(LOW_VRAM))
        unit.show("storage", gr.Dropdown, label="Weights stored as", choices=list(get_args(Storage)))
    hint = 'for example {"image_encoder": "clip_vision folder"}'
    unit.show("params", gr.Textbox, label="Further parameters (JSON)", placeholder=hint, max_lines=1)
