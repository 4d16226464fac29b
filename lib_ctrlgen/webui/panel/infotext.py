"""The `CtrlGen` entry of a picture's infotext, and how it is read back into the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from msgspec.structs import replace

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.webui.settings import model_store

from .blend_fields import BLEND_FIELDS, MODE, blend_values
from .unit_fields import NO_MODEL, Payload, panel_values, whole_values

KEY = "CtrlGen"
MODEL = "model"
BLEND_MODEL = list(BLEND_FIELDS).index(MODEL)


def describe(request: ControlRequest) -> str:
    """The request as compact JSON: enabled units, hashes in the places of their pictures.

    What `Loaded.recorded` gives holds the models' hashes, too.
    """
    enabled = tuple(unit for _, unit in request.enabled_units)
    payload = described(replace(request, units=enabled), "sha")
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def read_entry(params: Mapping[str, Any]) -> Payload:
    """The request in the parameters of a pasted infotext; empty where the entry is absent or broken."""
    try:
        entry = json.loads(params.get(KEY) or "{}")
    except (ValueError, TypeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def read_units(params: Mapping[str, Any]) -> list[Payload]:
    """The units in the parameters of a pasted infotext."""
    units = read_entry(params).get("units")
    return [unit for unit in units if isinstance(unit, dict)] if isinstance(units, list) else []


def listed_name(recorded: Any) -> Any:
    """The name in the panel's model list of a model as it was recorded, `name [hash]`.

    What is not there stays as it was recorded: the request then says what is missing, or that the
    hash is another one, and no other model stands in for it.
    """
    store = model_store()
    try:
        return store.files.name(store.resolve(recorded)) if recorded != NO_MODEL else recorded
    except (ModelError, TypeError, AttributeError):
        return recorded


@dataclass(frozen=True)
class PastedField:
    """Called by the WebUI with an infotext's parameters; gives one component's new value.

    A picture made without CtrlGen switches the units off and leaves the rest alone, so
    that a pasted infotext makes the same picture again.
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
