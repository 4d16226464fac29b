"""The `CtrlGen` entry of a picture's infotext, and how it is read back into the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from msgspec.structs import replace

from lib_ctrlgen.describe import described
from lib_ctrlgen.spec import ControlRequest

from .concept_fields import MODE, blend_values
from .payload import Payload, panel_values, whole_values

KEY = "CtrlGen"


def describe(request: ControlRequest) -> str:
    """The request as compact JSON: enabled units, hashes in the places of their pictures."""
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
        return None if value is None else gr.update(value=value)


@dataclass(frozen=True)
class PastedBlend:
    """The same for one component of the Blend tab; a picture without a blend switches it off."""

    index: int

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """A gradio update, or None to leave the component as it is."""
        blend = read_entry(params).get("blend")
        if not isinstance(blend, dict) and self.index != MODE:
            return None
        update: dict[str, Any] = gr.update(value=blend_values(blend)[self.index])
        return update


@dataclass(frozen=True)
class PastedSetting:
    """The same for what the panel holds beside the units; it is empty for pictures made without."""

    field: str

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A gradio update."""
        update: dict[str, Any] = gr.update(value=whole_values(read_entry(params))[self.field])
        return update
