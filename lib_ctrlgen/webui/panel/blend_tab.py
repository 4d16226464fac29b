"""The panel's Blend tab."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr
from modules.ui_common import create_refresh_button
from modules.ui_components import FormRow

from lib_ctrlgen.forms.blend_fields import BLEND_FIELDS, CONCEPT_FIELDS, DRAWN, OFF
from lib_ctrlgen.request.blend import MAX_CONCEPTS, MAX_MAP, BlendMode, Interpolation
from lib_ctrlgen.webui.settings import model_store

from .components import Panel, PictureInput, model_choices
from .infotext import PastedBlend

MODES = {
    OFF: "Off",
    "prediction": "Prediction (as AND)",
    "perpendicular": "Perpendicular",
    "saliency": "Saliency",
    "embedding": "Embedding",
    "trajectory": "Trajectory (a row of pictures)",
    "seeds": "Seeds",
}
HELP = "Concepts replace the prompt. {prompt} in a concept stands for the prompt; so does an empty concept."
DRAWINGS = {
    "mask": ("Mask (white: this concept)", "upload", "editor"),
    "painted": ("... or paint the mask", "canvas", "color-sketch"),
    "image": ("Reference picture", "upload", "editor"),
}
SHOWN = 2  # concepts that are shown at first; javascript/editors/concepts.js shows the others


def build_blend(panel: Panel) -> list[Any]:
    """Build the tab, and return its components in the order of the script's arguments."""
    parts: dict[str, Any] = {}
    with gr.Column(elem_id=panel.elem_id("blend"), elem_classes="ctrlgen-blend"):
        gr.HTML(f'<p class="ctrlgen-note">{HELP}</p>')
        with FormRow():
            modes = [(MODES[mode], mode) for mode in (OFF, *get_args(BlendMode))]
            _add(panel, parts, "mode", gr.Radio, label="Blend", choices=modes)
        with FormRow():
            turns = list(get_args(Interpolation))
            _add(panel, parts, "interpolation", gr.Radio, label="Interpolation", choices=turns)
            _add(panel, parts, "normalise", gr.Checkbox, label="Normalise")
        with gr.Accordion("Trajectory, map, reference pictures", open=False):
            with FormRow():
                hint = "default: 1@0 hold, 0.8@0.2, 0@0.6"
                _add(panel, parts, "crossfeed", gr.Textbox, label="Crossfeed", placeholder=hint, max_lines=1)
                kinds = ["none", "webp", "mp4"]
                _add(panel, parts, "animation", gr.Radio, label="Animation of a trajectory", choices=kinds)
                hint = "rounds of even spacing; default: 2 with an animation, else 0"
                _add(panel, parts, "spacing", gr.Textbox, label="Spacing", placeholder=hint, max_lines=1)
            with FormRow():
                models = model_choices()["choices"]
                label = "IP-Adapter for reference pictures"
                model = _add(panel, parts, "model", gr.Dropdown, label=label, choices=models)
                create_refresh_button(
                    model, model_store().refresh, model_choices, panel.elem_id("blend_refresh")
                )
                limits = {"minimum": 0, "maximum": MAX_MAP, "step": 1}
                label = "Map: pictures a side"
                explore = _add(panel, parts, "explore", gr.Slider, label=label, **limits)
                button = gr.Button("Draw map", elem_id=panel.elem_id("draw_map"), size="sm")
            script = f"(side) => ctrlgen.map('{panel.tab}', side)"
            button.click(None, _js=script, inputs=[explore], outputs=[explore], show_progress=False)
        concepts = [build_concept(panel, index) for index in range(MAX_CONCEPTS)]
        add = gr.Button("Add a concept", elem_id=panel.elem_id("concept_add"), size="sm")
        add.click(fn=None, _js=f"() => ctrlgenConcepts.add('{panel.tab}')")
    _paste(panel, parts, concepts)
    return [*(parts[name] for name in BLEND_FIELDS), *(part for each in concepts for part in each)]


def build_concept(panel: Panel, index: int) -> list[Any]:
    """Build one concept's fields, and return them in their order."""
    name = f"concept{index}"
    parts: dict[str, Any] = {}
    hidden = ["ctrlgen-concept", *(["ctrlgen-hidden"] if index >= SHOWN else [])]
    with gr.Accordion(f"Concept {index}", elem_id=panel.elem_id(name), elem_classes=hidden):
        with FormRow():
            options = {"value": CONCEPT_FIELDS["used"], "elem_id": panel.elem_id(f"{name}_used")}
            parts["used"] = gr.Checkbox(label="Use", **options)
            _text(panel, parts, name, "prompt", "Prompt", "{prompt}, at night", scale=4, min_width=300)
            _text(panel, parts, name, "weight", "Weight", "1, or 1>0")
            _text(panel, parts, name, "hires", "Hires weight", "as the first")
            _text(panel, parts, name, "seed", "Seed", "for trajectories, seeds")
            _text(panel, parts, name, "mask_strength", "Mask strength", "0..1, schedule")
        with gr.Accordion("Mask and picture", open=False), gr.Row():
            for part, (label, source, tool) in DRAWINGS.items():
                options = {"type": "pil", "source": source, "tool": tool, "height": 220, "label": label}
                drawn = {"brush_radius": 40, "brush_color": "#000000"}
                options |= drawn if source == "canvas" else {"image_mode": "RGBA"}  # a mask may be its alpha
                parts[part] = PictureInput(elem_id=panel.elem_id(f"{name}_{part}"), **options)
    return [parts[part] for part in CONCEPT_FIELDS]


def _add(panel: Panel, parts: dict[str, Any], name: str, component: type, **options: Any) -> Any:
    options = {"value": BLEND_FIELDS[name], "elem_id": panel.elem_id(f"blend_{name}"), **options}
    parts[name] = component(**options)
    return parts[name]


def _text(
    panel: Panel, parts: dict[str, Any], concept: str, name: str, label: str, hint: str, **options: Any
) -> None:
    options = {"placeholder": hint, "max_lines": 1, "scale": 1, "min_width": 110, **options}
    elem_id = panel.elem_id(f"{concept}_{name}")
    parts[name] = gr.Textbox(value=CONCEPT_FIELDS[name], label=label, elem_id=elem_id, **options)


def _paste(panel: Panel, parts: dict[str, Any], concepts: list[list[Any]]) -> None:
    """Let pasted infotexts fill every component except the pictures."""
    named = list(zip(BLEND_FIELDS, (parts[name] for name in BLEND_FIELDS), strict=True))
    named += [pair for each in concepts for pair in zip(CONCEPT_FIELDS, each, strict=True)]
    for index, (name, component) in enumerate(named):
        if name not in DRAWN:
            panel.paste_fields.append((component, PastedBlend(index)))
