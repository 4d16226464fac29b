"""The entry of a picture's infotext that holds its request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.request.spec import ControlRequest

from .unit_fields import Payload

KEY = "CtrlGen"


def describe(request: ControlRequest) -> str:
    """Return the request as compact JSON: its enabled units, with hashes in place of their pictures.

    For a request from `Loaded.recorded` it holds the models' hashes, too.
    """
    enabled = tuple(unit for _, unit in request.enabled_units)
    payload = described(replace(request, units=enabled), "sha")
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def read_entry(params: Mapping[str, Any]) -> Payload:
    """Return the request in the parameters of an infotext; empty if the entry is absent or broken."""
    try:
        entry = json.loads(params.get(KEY) or "{}")
    except (ValueError, TypeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def read_units(params: Mapping[str, Any]) -> list[Payload]:
    """Return the units in the parameters of an infotext."""
    units = read_entry(params).get("units")
    return [unit for unit in units if isinstance(unit, dict)] if isinstance(units, list) else []
