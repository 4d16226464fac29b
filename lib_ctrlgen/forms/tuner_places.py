"""The tuner's fields on the page, and the one that a place below `$.tune` belongs to.

>>> tuner_field(["x", "values", 0]), TUNER_LABELS["x_values"]
('x_values', 'Across (X), Values')
>>> tuner_field(["auto", "budget"]), tuner_field([])
('budget', 'force')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from lib_ctrlgen.tuner.cells import LARGEST, NAMES

TUNER = "script_{tab}_ctrlgen_xy_tuner_"  # begins the ids of the fields' elements
AXIS_LABELS: Mapping[str, str] = MappingProxyType(
    {"x": "Across (X)", "y": "Down (Y)", "z": "One table for each (Z)"}
)
OWN_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "seeds": "Pictures per cell (seeds)",
        "name": "Folder name",
        "force": f"Allow more than {LARGEST} pictures",
        "budget": "Search the values with this number of pictures",
        "coarse": "From coarse to fine",
        "recipe": "Save the gallery's cell as the recipe",
    }
)
TUNER_LABELS: Mapping[str, str] = MappingProxyType(
    {
        **{f"{name}_path": label for name, label in AXIS_LABELS.items()},
        **{f"{name}_values": f"{label}, Values" for name, label in AXIS_LABELS.items()},
        **OWN_LABELS,
    }
)


def tuner_field(rest: Sequence[str | int]) -> str:
    """The field for the parts of a path behind `$.tune`; empty for a place that the page does not have."""
    match rest:
        case []:
            return "force"  # a grid that is too large; what else is wrong there comes from REST alone
        case [str(axis), *inside] if axis in NAMES:
            return f"{axis}_values" if inside[:1] == ["values"] else f"{axis}_path"
        case ["auto", "ranges", *_]:
            return "x_path"
        case ["auto", *_]:
            return "budget"
        case [str(name)] if name in OWN_LABELS:
            return name
    return ""
