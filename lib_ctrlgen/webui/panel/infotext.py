"""Fills the panel from the `CtrlGen` entry of a pasted infotext."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.forms.blend_fields import BLEND_FIELDS, MODE, blend_values
from lib_ctrlgen.forms.infotext import read_entry, read_units
from lib_ctrlgen.forms.pose_fields import HASHED, reads_pose
from lib_ctrlgen.forms.unit_fields import NO_MODEL, panel_values, whole_values
from lib_ctrlgen.webui.settings import model_store

MODEL = "model"
POSE = "pose"
BLEND_MODEL = list(BLEND_FIELDS).index(MODEL)


def listed_name(recorded: Any) -> Any:
    """The name in the panel's list of a model that was recorded as `name [hash]`.

    A model that is not listed keeps its recorded name. The request then reports that it is missing, or
    that its hash differs, and no other model is used instead.
    """
    store = model_store()
    try:
        return store.files.name(store.resolve(recorded)) if recorded != NO_MODEL else recorded
    except (ModelError, TypeError, AttributeError):
        return recorded


@dataclass(frozen=True)
class PastedField:
    """Called by the WebUI with an infotext's parameters; returns one component's new value.

    The infotext of a picture made without CtrlGen switches the units off and changes nothing else, so that
    the same picture is made again.
    """

    unit: int
    field: str

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """A gradio update, or None to leave the component as it is."""
        units = read_units(params)
        if self.unit >= len(units):
            return gr.update(value=False) if self.field == "enabled" else None
        value = panel_values(units[self.unit]).get(self.field)
        value = listed_name(value) if self.field == MODEL else value
        return None if value is None else gr.update(value=value)


@dataclass(frozen=True)
class PastedPose:
    """Like `PastedField`, for the pose of a unit: its hash, which the page replaces by the pose."""

    unit: int

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """A gradio update, or None to leave the component as it is."""
        unit = dict(enumerate(read_units(params))).get(self.unit, {})
        hashed, given = unit.get("image"), unit.get("preprocessor")
        text = given if isinstance(given, str) else json.dumps(given)
        known = isinstance(hashed, str) and hashed.startswith(HASHED) and reads_pose(text)
        return gr.update(value=hashed) if known else None


@dataclass(frozen=True)
class PastedBlend:
    """Like `PastedField`, for a component of the Blend tab; a picture without a blend switches it off."""

    index: int

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """A gradio update, or None to leave the component as it is."""
        blend = read_entry(params).get("blend")
        if not isinstance(blend, dict) and self.index != MODE:
            return None
        value = blend_values(blend)[self.index]
        update: dict[str, Any] = gr.update(value=listed_name(value) if self.index == BLEND_MODEL else value)
        return update


@dataclass(frozen=True)
class PastedSetting:
    """Like `PastedField`, for the fields beside the units; empty for pictures made without them."""

    field: str

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A gradio update."""
        update: dict[str, Any] = gr.update(value=whole_values(read_entry(params))[self.field])
        return update
