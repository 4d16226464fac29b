"""One slider for a unit's weight, start and end, with three presets. The page computes them by itself."""

from __future__ import annotations

import json

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.strengths import LEVELS, presets_of

from .components import UnitPanel

SET = ("weight", "weight_schedule", "guidance_start", "guidance_end")


def build_strength(unit: UnitPanel) -> None:
    """Build the slider, the buttons and the line that says what they have set."""
    # At first "High": the weight, start and end of an unused unit.
    limits = {"minimum": 0, "maximum": 100, "step": 5}
    with FormRow(elem_classes="ctrlgen-strength"):
        label = "Strength (%)"
        elem_id = unit.elem_id("strength")
        slider = gr.Slider(value=LEVELS["High"], label=label, elem_id=elem_id, scale=4, **limits)
        slider.do_not_save_to_config = True
        levels = {
            name: gr.Button(
                name, size="sm", elem_id=unit.elem_id(f"strength_{name.lower()}"), min_width=60, scale=1
            )
            for name in LEVELS
        }
    names = f'data-tab="{unit.panel.tab}" data-unit="{unit.elem_id("")[:-1]}"'
    gr.HTML(f'<p class="ctrlgen-note ctrlgen-chosen" aria-live="polite" {names}></p>')
    unit.parts |= {"strength": slider, **levels}


def connect_strength(unit: UnitPanel) -> None:
    """Let the slider and the buttons set weight, start and end, in the browser."""
    parts = unit.parts
    fields = [parts[name] for name in SET]
    script = "(strength, presets) => ctrlgenKinds.strength(strength, presets)"
    parts["strength"].input(fn=None, _js=script, inputs=[parts["strength"], parts["presets"]], outputs=fields)
    for name, level in LEVELS.items():
        script = f"(presets) => [{level}, ...ctrlgenKinds.strength({level}, presets)]"
        outputs = [parts["strength"], *fields]
        parts[name].click(fn=None, _js=script, inputs=[parts["presets"]], outputs=outputs)


def presets_text(kind: str, base: str = "") -> str:
    """The presets of a kind as JSON: low, middle and high, each [weight, start, end]."""
    return json.dumps(presets_of(kind, base))
