"""A tuner's job and the cells of its grid, which are all checked before the first picture is generated."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from msgspec import Meta

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.base import RANDOM_SEED, Spec
from lib_ctrlgen.request.spec import ControlRequest, parse_request

from .axes import Axis, applied, parse_axis
from .axis_choices import unknown_axis

NAMES = ("x", "y", "z")
LARGEST = 400  # pictures of a grid without `force`

Text: TypeAlias = str | list[bool | int | float | str | list[bool | int | float | str]]


class AxisSpec(Spec, frozen=True, kw_only=True):
    """One axis: a field of the request, and the values that it takes.

    path    a path or a label, such as `units.0.weight` or "Unit 0 weight"; several are joined by `+`
    values  a text such as `0.2, 0.5-1 [3]`, or a list; for paths joined by `+`, each value may be a list
            with one value per path
    """

    path: str
    values: Text


class AutoSpec(Spec, frozen=True, kw_only=True):
    """A search over ranges of values, instead of a grid.

    budget    the number of pictures; a picture with fewer steps counts in proportion, and uncontrolled
              pictures are not counted
    ranges    one field each; values as on an axis, of which one is chosen, or any number of `0.2-1.5`
    seed      the seed of the search, not of the pictures; -1 draws a seed, which is stored in the folder
    early     the share of the steps at which a candidate is tried first; without it, every candidate is made
              with all steps
    together  the number of candidates that are proposed at once
    """

    budget: Annotated[int, Meta(ge=1, le=10000)]
    ranges: Annotated[tuple[AxisSpec, ...], Meta(min_length=1, max_length=16)]
    seed: Annotated[int, Meta(ge=RANDOM_SEED, le=2**32 - 1)] = 0
    early: Annotated[float, Meta(gt=0, lt=1)] | None = None
    together: Annotated[int, Meta(ge=1, le=64)] = 4


class TuneSpec(Spec, frozen=True, kw_only=True):
    """The `tune` section of a job: axes, or `auto`.

    x, y, z  the axes; a sheet shows x by y, and there is one sheet for each value of z
    auto     a search with a budget of pictures, instead of axes
    seeds    the number of pictures per cell: with the request's seed and those after it
    force    allow a grid of more than 400 pictures
    coarse   the share of the steps with which every cell of a grid is made first, with one seed; then only
             the better half of the cells is made in full
    encoder  the name of the CLIP vision encoder that measures likeness; if absent, the first one by name in
             the model folders that has a text projection beside it, else the first one by name
    """

    x: AxisSpec | None = None
    y: AxisSpec | None = None
    z: AxisSpec | None = None
    auto: AutoSpec | None = None
    seeds: Annotated[int, Meta(ge=1, le=64)] = 1
    force: bool = False
    coarse: Annotated[float, Meta(gt=0, lt=1)] | None = None
    encoder: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [name for name in NAMES if getattr(self, name) is not None]
        if self.auto is None and self.x is None:
            raise RequestError(
                "x", "is required: choose what varies (in the API `auto` may replace the axes)"
            )
        if self.auto is not None and named:
            raise RequestError(named[0], "`auto` searches the fields in auto.ranges: leave the axes out")
        if self.auto is not None and self.coarse is not None:
            raise RequestError(
                "coarse", "is for a grid, not for a search (in the API a search has auto.early)"
            )


Request = TypeVar("Request", bound=ControlRequest)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the grid: `coords` are the indices of its values on the axes, `key` is its request's hash."""

    coords: tuple[int, ...]
    shown: tuple[str, ...]
    payload: Mapping[str, Any]
    key: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The axes of a job (x, y, z) and all cells, in an order in which x varies fastest."""

    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    seeds: int

    @property
    def pictures(self) -> int:
        """The number of pictures in the whole grid."""
        return len(self.cells) * self.seeds

    def named(self, cell: Cell) -> str:
        """A cell's values, each with the label of its axis."""
        return ", ".join(axis.named(k) for axis, k in zip(self.axes, cell.coords, strict=True))


def grid_of(payload: Mapping[str, Any], tune: TuneSpec, kind: type[Request]) -> Grid:
    """All cells of a job, each checked as a request of this kind.

    Raises RequestError at the axis or at the field of the request that is wrong, and for a grid that is too
    large.
    """
    named = {name: axis for name in NAMES if (axis := getattr(tune, name)) is not None}
    if "z" in named and "y" not in named:
        raise RequestError("$.tune.y", "there is an axis z but no y: make it y")
    axes = {name: _axis(name, spec) for name, spec in named.items()}
    count = math.prod(len(axis) for axis in axes.values()) * tune.seeds
    if count > LARGEST and not tune.force:
        raise RequestError(
            "$.tune",
            f"{count} pictures are more than {LARGEST}: take fewer values or seeds, or switch on 'force' "
            "(in the API force: true)",
        )
    shape = [len(axis) for axis in axes.values()]
    places = [_unravelled(number, shape) for number in range(math.prod(shape))]
    cells = tuple(_cell(payload, axes, coords, kind) for coords in places)
    return Grid(axes=tuple(axes.values()), cells=cells, seeds=tune.seeds)


def _unravelled(number: int, shape: list[int]) -> tuple[int, ...]:
    """The coordinates of a cell; the first axis runs fastest."""
    coords = []
    for length in shape:
        number, at = divmod(number, length)
        coords.append(at)
    return tuple(coords)


def _axis(name: str, spec: AxisSpec) -> Axis:
    try:
        return parse_axis(spec.path, spec.values)
    except RequestError as error:
        raise RequestError(f"$.tune.{name}.{error.path or 'path'}", error.message) from error


def _cell(
    payload: Mapping[str, Any], axes: Mapping[str, Axis], coords: tuple[int, ...], kind: type[Request]
) -> Cell:
    made = dict(payload)
    for (name, axis), index in zip(axes.items(), coords, strict=True):
        where = f"$.tune.{name}.values[{index}]"
        try:
            made = applied(made, axis, index)
            parse_request(made, kind)
        except RequestError as error:
            if unknown := unknown_axis(error, axis.label, axis.paths):
                raise RequestError(f"$.tune.{name}.path", unknown.message) from error
            place = f" (at {error.path})" if error.path else ""
            raise RequestError(where, f"{axis.shown[index]}: {error.message}{place}") from error
    shown = tuple(axis.shown[index] for axis, index in zip(axes.values(), coords, strict=True))
    return Cell(coords=coords, shown=shown, payload=made, key=key_of(made))


def key_of(payload: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a payload, so that equal cells have equal keys."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
