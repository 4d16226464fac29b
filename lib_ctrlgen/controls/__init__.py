"""Control families and the loading of a request's units."""

from __future__ import annotations

from .base import Control, HostParts, Target, UnitInputs
from .prepare import load_concepts, load_units
from .registry import CONTROLS, control_for, params_for

__all__ = [
    "CONTROLS",
    "Control",
    "HostParts",
    "Target",
    "UnitInputs",
    "control_for",
    "load_concepts",
    "load_units",
    "params_for",
]
