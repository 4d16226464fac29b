"""The `CtrlGen` entry of a picture's infotext, and how it is read back into the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_ctrlgen.images import image_hash
from lib_ctrlgen.spec import ControlRequest, to_payload

from .payload import Payload, panel_values, whole_values

KEY = "CtrlGen"
PICTURES = ("image", "mask")


def describe(request: ControlRequest) -> str:
    """The request as compact JSON: enabled units, hashes in the places of their pictures."""
    units = [_describe_unit(to_payload(unit)) for _, unit in request.enabled_units]
    described = to_payload(request) | {"units": units}
    return json.dumps(described, ensure_ascii=False, separators=(",", ":"))


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
class PastedSetting:
    """The same for what the panel holds beside the units; it is empty for pictures made without."""

    field: str

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A gradio update."""
        update: dict[str, Any] = gr.update(value=whole_values(read_entry(params))[self.field])
        return update


def _describe_unit(unit: Payload) -> Payload:
    hashes = {name: f"sha:{image_hash(unit[name])}" for name in PICTURES if unit.get(name)}
    return unit | hashes
