"""The tab "CtrlGen Train": what to train, what it costs, start, progress, stop and resume."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr
from modules import sd_models, shared
from modules.ui_components import FormRow

from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.webui.late import Late
from lib_ctrlgen.webui.settings import model_store

from .packages import are_missing, offer
from .tab_fields import KINDS, LABELS, PARTS, SENT, TIPS, is_shown

EVENTS = Late("training.tab_events")
TAB, TITLE = "ctrlgen_train", "CtrlGen Train"
FILES = ["image", ".txt", ".caption"]
AGAIN = "() => ctrlgenTrain.again()"


@dataclass
class TrainTab:
    """The components by name."""

    parts: dict[str, Any] = field(default_factory=dict)

    def show(self, name: str, component: type, *value: Any, **options: Any) -> Any:
        """Create a component. The WebUI does not save its value as a default."""
        label = {"label": LABELS[name]} if name in LABELS else {}
        made = component(*value, elem_id=f"{TAB}_{name}", **label, **options)
        made.do_not_save_to_config = True
        self.parts[name] = made
        return made


def training_tab() -> list[tuple[Any, str, str]]:
    """The tab for the WebUI: its blocks, its title, its id."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        build_tab()
    return [(blocks, TITLE, TAB)]


def build_tab() -> TrainTab:
    """Build the tab inside the blocks that are open."""
    tab = TrainTab()
    with gr.Column(elem_id=f"{TAB}_panel", elem_classes=["ctrlgen"]):
        with gr.Row(elem_id=f"{TAB}_columns"):
            with gr.Column():
                _build_subject(tab)
                _build_numbers(tab)
                _build_start(tab)
            with gr.Column():
                _build_progress(tab)
        tips = escape(json.dumps(dict(TIPS)))
        gr.HTML(f"<div class='ctrlgen-train-tips ctrlgen-hidden' data-texts='{tips}'></div>")
    _connect(tab)
    return tab


def _build_subject(tab: TrainTab) -> None:
    """What is trained, on what, with which pictures and words."""
    first = next(iter(KINDS))
    tab.show("kind", gr.Radio, choices=list(KINDS), value=first)
    with FormRow():
        tab.show("name", gr.Textbox, max_lines=1, placeholder="mug")
        names = [info.name for info in sd_models.checkpoints_list.values()]
        current = chosen_checkpoint()
        tab.show("base", gr.Dropdown, choices=names, value=current if current in names else None)
    tab.show("pictures", gr.Textbox, max_lines=1, placeholder="/home/me/pictures/mug")
    tab.show("files", gr.File, file_count="multiple", file_types=FILES, height=100)
    own = {name: {"visible": is_shown(name, KINDS[first])} for name in SENT}
    tab.show("captions", gr.Textbox, max_lines=2, placeholder="a photo of {token}")
    tab.show("token", gr.Textbox, max_lines=1, placeholder="sks", **own["token"])
    tab.show("initial", gr.Textbox, max_lines=1, placeholder="a dog", **own["initial"])
    tab.show("vectors", gr.Number, value=1, precision=0, **own["vectors"])
    tab.show("prior_prompt", gr.Textbox, max_lines=1, placeholder="a photo of a dog", **own["prior_prompt"])
    tab.show("adapter", gr.Dropdown, choices=model_store().names(), value=None, **own["adapter"])
    parts = list(PARTS)
    tab.show("part", gr.Radio, choices=parts, value=parts[1], **own["part"])


def chosen_checkpoint() -> str:
    """The name of the chosen checkpoint, which may not be loaded yet: `shared.sd_model` would load it."""
    return split_hash(str(shared.opts.data.get("sd_model_checkpoint") or ""))[0]


def _build_numbers(tab: TrainTab) -> None:
    """How long, how large, how much."""
    with FormRow():
        tab.show("steps", gr.Number, value=1000, precision=0)
        tab.show("resolution", gr.Number, value=512, precision=0)
        tab.show("batch", gr.Number, value=1, precision=0)
    with FormRow():
        tab.show("rank", gr.Number, value=16, precision=0)
        tab.show("lr", gr.Number, value=0)
        tab.show("hold_out", gr.Number, value=1, precision=0)
    with gr.Accordion("More", open=False, elem_id=f"{TAB}_accordion"):
        tab.show("backdrop", gr.Textbox, max_lines=1, placeholder="#ffffff")
        tab.show("checkpointing", gr.Checkbox, value=False)
        tab.show("more", gr.Textbox, lines=3, placeholder="flip: true")


def _build_start(tab: TrainTab) -> None:
    """Consent, cost, start."""
    tab.show("unload", gr.Checkbox, value=False)
    missing = are_missing()
    tab.show("install", gr.Checkbox, value=False, visible=missing)
    if missing:
        from .tab_view import paragraph

        gr.HTML(paragraph(f"Training needs packages that are not here: {offer()}."))
    with FormRow():
        tab.show("check", gr.Button, "Check the pictures and the cost")
        tab.show("start", gr.Button, "Start the training", variant="primary", interactive=False)
    tab.show("cost", gr.HTML)
    tab.show("checked", gr.State, "")


def _build_progress(tab: TrainTab) -> None:
    """The trainings, and the chosen one."""
    tab.show("chosen", gr.Dropdown, choices=[], value=None)
    tab.show("state", gr.HTML)
    with FormRow():
        tab.show("stop", gr.Button, "Stop, keep a checkpoint", interactive=False)
        tab.show("resume", gr.Button, "Resume", interactive=False)
        tab.show("remove", gr.Button, "Remove the training", interactive=False)
    tab.show("note", gr.HTML)
    tab.show("previews", gr.Gallery, label="Previews", columns=4, height=360)
    tab.show("seen", gr.State, [])
    tab.show("look", gr.Button, "Refresh", elem_classes=["ctrlgen-hidden"])


def _connect(tab: TrainTab) -> None:
    """Connect buttons and lists; only the page's script looks again, while a training runs."""
    parts = tab.parts
    fields = [parts[name] for name in SENT]
    others = [parts[name] for name in SENT if name != "kind"]
    parts["kind"].change(EVENTS.shown_fields, inputs=[parts["kind"]], outputs=others, show_progress=False)
    outputs = [parts["cost"], parts["start"], parts["checked"]]
    parts["check"].click(EVENTS.checked, inputs=[parts["files"], *fields], outputs=outputs)
    view = [parts[name] for name in ("state", "previews", "seen", "chosen", "stop", "resume", "remove")]
    look = {
        "fn": EVENTS.looked,
        "inputs": [parts["chosen"], parts["seen"]],
        "outputs": view,
        "show_progress": False,
        "queue": False,  # the WebUI's "Reload UI" waits for ever for an event that is still in gradio's queue
    }

    def then_look(event: Any) -> None:
        event.then(**look).then(fn=None, _js=AGAIN)

    inputs = [parts["checked"], parts["files"], *fields]
    then_look(parts["start"].click(EVENTS.started, inputs=inputs, outputs=[parts["cost"], parts["chosen"]]))
    then_look(parts["stop"].click(EVENTS.stopped, inputs=[parts["chosen"]], outputs=[parts["note"]]))
    resume = [parts["chosen"], parts["install"]]
    then_look(parts["resume"].click(EVENTS.resumed, inputs=resume, outputs=[parts["note"]]))
    then_look(parts["remove"].click(EVENTS.removed, inputs=[parts["chosen"]], outputs=[parts["note"]]))
    parts["look"].click(**look).then(fn=None, _js=AGAIN)
    parts["chosen"].input(**look).then(fn=None, _js=AGAIN)
