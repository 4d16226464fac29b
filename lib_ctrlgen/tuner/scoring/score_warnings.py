"""What a reader of the report must know before trusting its scores."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.tuner.cells import Grid
from lib_ctrlgen.tuner.finished_cell import Done

UNIT_PLACE = re.compile(r"units\.(?P<unit>\d+)\.(?P<field>.+)")
MAP_FIELDS = ("preprocessor", "image", "resize_mode", "image_from")
PARAM = "params."
OWN_MAP = (
    "{name} changes unit {unit}'s control map itself. Every cell's adherence is measured against its own "
    "map, so cells with different values cannot be compared by it: an emptier map is easier to follow. Look "
    "at the pictures."
)


def warnings_of(grid: Grid, done: Sequence[Done]) -> tuple[str, ...]:
    """Axes over what makes a control map, whose adherence is scored."""
    scored = {name for each in done for name in each.means}
    found = []
    for path in (path for axis in grid.axes for path in axis.paths):
        place = UNIT_PLACE.fullmatch(path)
        if place is None or f"adherence.{place['unit']}" not in scored:
            continue
        number = int(place["unit"])
        if any(_makes_map(each.request.units[number], place["field"]) for each in done):
            found.append(OWN_MAP.format(name=path, unit=number))
    return tuple(found)


def _makes_map(unit: ControlUnit, field: str) -> bool:
    if not field.startswith(PARAM):
        return field in MAP_FIELDS
    own = params_of(preprocessor(unit.preprocessor))
    return field.removeprefix(PARAM) in {param.name for param in own}
