"""Checks all cells of a grid, or the ends of a search's ranges; errors name the axis that caused them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_ctrlgen.errors import RequestError

from .axes import REPLACE
from .cells import NAMES, Cell, Grid
from .search.space import Point, Space
from .values import shown_value

PROMPTS = ("$.prompt", "$.negative_prompt", "$.blend.concepts")

RequestOf = Callable[[Mapping[str, Any]], Any]  # returns a payload's request, checked; raises RequestError


def check_grid(grid: Grid, request_of: RequestOf) -> dict[str, Any]:
    """The requests of a grid's cells by key. Raises RequestError at the axis with a wrong value."""
    found: dict[str, Any] = {}
    for cell in grid.cells:
        if cell.key not in found:
            try:
                found[cell.key] = request_of(cell.payload)
            except RequestError as error:
                raise _on_axis(error, grid, cell) from error
    return found


def check_space(space: Space, request_of: RequestOf) -> None:
    """Check the ends and the listed values of every range. Raises RequestError at the range."""
    for index, each in enumerate(space.ranges):
        for number in each.probes:
            point = (*space.start[:index], number, *space.start[index + 1 :])
            try:
                request_of(space.cell(point).payload)
            except RequestError as error:
                raise _on_range(error, space, point) from error


def _on_range(error: RequestError, space: Space, point: Point) -> RequestError:
    """Move an error to the range that set the wrong value; an error that no range caused is unchanged."""
    for index, (each, value) in enumerate(zip(space.ranges, space.row(point), strict=True)):
        if _is_at(error.path, each.path):
            return _placed(error, f"$.tune.auto.ranges[{index}].values", shown_value(value))
    return error


def _on_axis(error: RequestError, grid: Grid, cell: Cell) -> RequestError:
    """Move an error to the axis that set the wrong value; an error that no axis caused is unchanged."""
    for name, axis, index in zip(NAMES, grid.axes, cell.coords, strict=False):
        if any(_is_at(error.path, path) for path in axis.paths):
            return _placed(error, f"$.tune.{name}.values[{index}]", axis.shown[index])
    return error


def _placed(error: RequestError, place: str, shown: object) -> RequestError:
    return RequestError(place, f"{shown}: {error.message} (at {error.path})")


def _is_at(place: str, path: str) -> bool:
    """Whether an error's JSON path is the path of an axis, or is below or above it.

    >>> _is_at("$.units[0].params.low", "units.0.params.low"), _is_at("$.units[1].model", "units.0.model")
    (True, False)
    """
    if path == REPLACE:
        return place.startswith(PROMPTS)
    if path.startswith("prompt."):
        return place.startswith(("$.prompt_weights", "$.prompt"))
    found, wanted = place.removeprefix("$.").replace("[", ".").replace("]", "").split("."), path.split(".")
    length = min(len(found), len(wanted))
    return found == wanted or (length > 1 and found[:length] == wanted[:length])
