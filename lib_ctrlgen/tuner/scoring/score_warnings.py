"""Warnings about the scores of a run, for the report: axes that change control maps, several encoders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.tuner.cells import Grid
from lib_ctrlgen.tuner.finished_cell import FinishedCell, encoders_of

UNIT_PLACE = re.compile(r"units\.(?P<unit>\d+)\.(?P<field>.+)")
MAP_FIELDS = ("image", "resize_mode", "image_from")
PARAM = "params."
MOST_TEXTS = 4  # different warnings of cells that the summary quotes
OTHER_ENCODERS = (
    "Likeness was measured with different CLIP vision encoders ({names}): do not compare likeness between "
    "these cells. Name one of the encoders in tune.encoder and run again."
)
OWN_MAP = (
    "{name} changes the control map of unit {unit}. Each cell's adherence is measured against its own map, "
    "so do not compare adherence between cells with different values: an emptier map is easier to follow. "
    "Compare the pictures."
)


def warnings_of(grid: Grid, done: Sequence[FinishedCell]) -> tuple[str, ...]:
    """Warnings about the axes and the encoders, and a summary of the cells' own warnings."""
    return (*_axes(grid, done), *_encoders(done), *_cells(done))


def _encoders(done: Sequence[FinishedCell]) -> Iterator[str]:
    """A warning if likeness was measured with different encoders, as on different machines."""
    found = encoders_of(done)
    if len(found) > 1:
        yield OTHER_ENCODERS.format(names=", ".join(found))


def _cells(done: Sequence[FinishedCell]) -> Iterator[str]:
    """How many cells have warnings, with the most frequent texts."""
    warned = [each for each in done if each.warnings]
    if not warned:
        return
    counts = Counter(text for each in warned for text in each.warnings)
    quoted = "; ".join(f"{text} ({count} of {len(done)})" for text, count in counts.most_common(MOST_TEXTS))
    more = f"; and {len(counts) - MOST_TEXTS} more" if len(counts) > MOST_TEXTS else ""
    yield f"{len(warned)} of {len(done)} cells have warnings: {quoted}{more}"


def _axes(grid: Grid, done: Sequence[FinishedCell]) -> list[str]:
    """A warning for each axis that changes a control map whose adherence is scored."""
    scored = {name for each in done for name in each.means}
    found = []
    for path in (path for axis in grid.axes for path in axis.paths):
        place = UNIT_PLACE.fullmatch(path)
        if place is None or f"adherence.{place['unit']}" not in scored:
            continue
        number = int(place["unit"])
        if any(_makes_map(each.request.units[number], place["field"]) for each in done):
            found.append(OWN_MAP.format(name=path, unit=number))
    return found


def _makes_map(unit: ControlUnit, field: str) -> bool:
    if not field.startswith(PARAM):
        return field in MAP_FIELDS or field.partition(".")[0] == "preprocessor"
    own = chain_of(unit.preprocessor).params
    return field.removeprefix(PARAM) in {param.name for param in own}
