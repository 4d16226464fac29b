"""The chooser of what a unit's picture is for: it sets model, preprocessor and strength together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.forms.control_files import (
    WEIGHT_TYPE,
    ControlFile,
    best_file,
    best_preprocessor,
    offered,
    unit_values,
)
from lib_ctrlgen.forms.kinds import KINDS, OTHER
from lib_ctrlgen.forms.param_values import PARAM_VALUES, with_param
from lib_ctrlgen.forms.strengths import MIDDLE
from lib_ctrlgen.webui.control_files import checkpoint_base, control_files, control_files_named, is_ready
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.settings import model_store

from .components import UnitPanel
from .strength_panel import presets_text

Update = dict[str, Any]
# The fields that are set when a kind is chosen.
SET_FIELDS = (
    "enabled",
    "model",
    "preprocessor",
    "weight",
    "weight_schedule",
    "guidance_start",
    "guidance_end",
    PARAM_VALUES,
)
STRENGTH = "strength"


def build_kinds(unit: UnitPanel) -> None:
    """Build the chooser and its undo button."""
    options = {"label": "What is the picture for?", "elem_classes": ["ctrlgen-kinds"]}
    choices = kind_choices(control_files_named())
    with FormRow():
        unit.parts["kind"] = gr.Radio(choices, value=None, elem_id=unit.elem_id("kind"), **options)
    unit.parts["kind"].do_not_save_to_config = True
    undo = {"size": "sm", "visible": False, "elem_id": unit.elem_id("kind_undo")}
    unit.parts["kind_undo"] = gr.Button("Undo this choice", **undo)
    unit.parts["kind_before"] = gr.State(None)


def kind_choices(files: Sequence[ControlFile], base: str = "") -> list[tuple[str, str]]:
    """The labels and names of the kinds that these files can be used for."""
    return [(KINDS[kind].label, kind) for kind in offered(files, base)]


def connect_kinds(unit: UnitPanel) -> None:
    """Let a choice set the fields, and the undo button restore them."""
    parts = unit.parts
    fields = [parts[name] for name in SET_FIELDS]
    more = [parts["kind_before"], parts["kind_undo"], parts["strength"], parts["presets"], parts["details"]]
    inputs = [parts["kind"], parts["checkpoint"], *fields, parts["strength"]]
    quiet = {"show_progress": False, "queue": False}
    parts["kind"].input(chosen, inputs=inputs, outputs=[*fields, *more], **quiet)
    before = [parts["kind_before"]]
    parts["kind_undo"].click(undone, inputs=before, outputs=[*fields, *more[1:3]], **quiet)
    parts["refresh"].click(listed, inputs=[parts["checkpoint"]], outputs=[parts["kind"]], **quiet)


@plain
def listed(checkpoint: str) -> Update:
    """The chooser's update for the files that are here now; their folders are read again."""
    model_store().refresh()
    update: Update = gr.update(choices=kind_choices(control_files(), checkpoint_base(checkpoint)))
    return update


@plain
def chosen(kind: str, checkpoint: str, *values: Any) -> list[Any]:
    """Updates of the fields for a kind, then: the values before, undo button, strength, presets, More."""
    base, before = checkpoint_base(checkpoint), dict(zip((*SET_FIELDS, STRENGTH), values, strict=True))
    found = values_for(kind, base, before)
    if not found:
        same = [gr.update() for _ in SET_FIELDS]
        return [*same, before, gr.update(visible=False), gr.update(), gr.update(), gr.update(open=True)]
    updates = [gr.update(value=found[name]) for name in SET_FIELDS]
    undo, strength = gr.update(visible=True), gr.update(value=MIDDLE)
    return [*updates, before, undo, strength, presets_text(kind, base), gr.update()]


def values_for(kind: str, base: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `SET_FIELDS` for a kind; empty if no file here is for it."""
    file = best_file(kind, control_files(), base, before["model"]) if kind != OTHER else None
    if file is None:
        return {}
    found = unit_values(kind, file, best_preprocessor(kind, file, is_ready), base)
    weight_type = found.pop(WEIGHT_TYPE)
    return {**found, PARAM_VALUES: with_param(before[PARAM_VALUES], WEIGHT_TYPE, weight_type)}


@plain
def undone(before: Mapping[str, Any] | None) -> list[Update]:
    """Updates that restore the fields, hide the undo button, and restore the strength."""
    names = (*SET_FIELDS, STRENGTH)
    *values, strength = [gr.update(value=before[name]) if before else gr.update() for name in names]
    return [*values, gr.update(visible=False), strength]
