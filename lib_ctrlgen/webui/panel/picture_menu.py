"""The menu of a unit's picture: where it may come from, and its size."""

from __future__ import annotations

import gradio as gr
from modules.ui_components import FormRow

from .components import UnitPanel, build_files

TITLE = "Picture from ..."
ACTIONS = {
    "last": "Use the last result",
    "clipboard": "Clipboard",
    "from_init": "Picture of the tab img2img",
    "send_size": "Send its size to width and height",
}


def build_picture_menu(unit: UnitPanel) -> None:
    """Build the menu, closed; the page adds to its title what it is set to."""
    menu = {"open": False, "elem_id": unit.elem_id("picture_menu"), "elem_classes": "ctrlgen-menu"}
    init = unit.panel.tab == "img2img"
    with gr.Accordion(TITLE, **menu):
        with FormRow():
            for name, label in ACTIONS.items():
                button = {"size": "sm", "visible": name != "from_init" or not init}
                unit.parts[name] = gr.Button(label, elem_id=unit.elem_id(name), **button)
        label = "Use the img2img picture instead"
        unit.show("use_init_image", gr.Checkbox, label=label, visible=init)
        unit.parts["batch_area"] = gr.Column()
        with unit.parts["batch_area"]:
            build_files(unit, "images", "Pictures for a batch: one for each image")


def connect_picture_menu(unit: UnitPanel) -> None:
    """Connect the buttons, which work in the browser."""
    tab, parts = unit.panel.tab, unit.parts
    scripts = {
        "last": f"(picture) => ctrlgen.last('{tab}', picture)",
        "clipboard": "(picture) => ctrlgenPicture.clipboard(picture)",
        "from_init": "(picture) => ctrlgenPicture.init(picture)",
    }
    shown = [parts["image"], parts["map_error"]]
    for name, script in scripts.items():
        parts[name].click(fn=None, _js=script, inputs=shown[:1], outputs=shown)
    script = f"() => ctrlgenPicture.size('{tab}', {unit.index})"
    parts["send_size"].click(fn=None, _js=script, outputs=shown[1:])
