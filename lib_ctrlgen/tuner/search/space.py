"""The search space: ranges of values for paths in a request, and the cells in it.

    units.0.weight: 0.2-1.5        any number from 0.2 to 1.5
    steps: 10-30 (+1)              one of the values of an axis, here of whole numbers
    sampler: Euler, DDIM           one of these values

A point of the space has one number per range: the value itself, or for a list the index of the value.

>>> parse_range("Unit 0 weight", "0.2-1.5").at(0.87654)
0.877
>>> parse_range("steps", "10-30 (+5)").at(2)
20
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, parse_request
from lib_ctrlgen.tuner.axes import REPLACE, Axis, applied, parse_axis, path_of
from lib_ctrlgen.tuner.axis_choices import unknown_axis
from lib_ctrlgen.tuner.cells import AutoSpec, Cell, Text, key_of
from lib_ctrlgen.tuner.values import NUMBER, Value, rounded

Point: TypeAlias = tuple[float, ...]

BETWEEN = re.compile(rf"\s*({NUMBER})\s*-\s*({NUMBER})\s*")
DIGITS = 3  # a number of a continuous range is rounded to about a thousandth of the range
GOLDEN = 0.382  # the position inside a range that is checked beside its ends; it is seldom a whole number
WHOLE = "for whole numbers write {:g}-{:g} (+1)"


@dataclass(frozen=True, kw_only=True)
class Range:
    """A path and its range: numbers from `low` to `high`, or one of `values`."""

    label: str
    path: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[Value, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether the listed values are numbers in rising order."""
        numbers = [v for v in self.values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)

    def at(self, number: float) -> Value:
        """The value for the request that belongs to a point's number."""
        if self.values:
            return self.values[int(number)]
        digits = DIGITS - math.floor(math.log10(self.high - self.low))
        return rounded(min(self.high, max(self.low, round(number, digits))))

    def number(self, value: object) -> float:
        """The point's number for a value; the middle of the range for a value outside of it."""
        if self.path == REPLACE:
            return 0  # the unchanged text
        if self.values:
            return self.values.index(value) if value in self.values else len(self.values) // 2
        inside = isinstance(value, (int, float)) and self.low <= value <= self.high
        return float(value) if inside else (self.low + self.high) / 2  # type: ignore[arg-type]

    @property
    def probes(self) -> tuple[float, ...]:
        """The point's numbers to be checked: both ends and one between them, or every value of a list."""
        if self.values:
            return tuple(range(len(self.values)))
        return self.low, self.high, self.low + GOLDEN * (self.high - self.low)


def parse_range(place: str, values: Text) -> Range:
    """A range from a path or a friendly label, and a text or a list of values.

    Raises RequestError at `path` or `values` for a text that cannot be read.
    """
    if "+" in place:
        raise RequestError("path", "paths joined by + are for axes only: name one path for each range")
    between = BETWEEN.fullmatch(values) if isinstance(values, str) else None
    if between is None or path_of(place.strip()) == REPLACE:
        axis = parse_axis(place, values)
        if len(axis) < 2:
            raise RequestError("values", "nothing to search: write 0.2-1.5, 10-30 (+1), or some values")
        return Range(label=axis.label, path=axis.paths[0], values=tuple(row[0] for row in axis.values))
    low, high = float(between[1]), float(between[2])
    if low >= high:
        raise RequestError("values", f"{low:g} must be less than {high:g}")
    return Range(label=place.strip(), path=path_of(place.strip()), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The ranges for a payload. `start` is the point of the job's own values, clipped to the ranges."""

    payload: Mapping[str, Any]
    kind: type[ControlRequest]
    ranges: tuple[Range, ...]
    start: Point

    @property
    def label(self) -> str:
        """The labels of all ranges, as one text."""
        return " + ".join(each.label for each in self.ranges)

    def row(self, point: Point) -> tuple[Value, ...]:
        """A point's values, one per range."""
        return tuple(each.at(number) for each, number in zip(self.ranges, point, strict=True))

    def axis(self, points: Sequence[Point]) -> Axis:
        """Points as the values of one axis."""
        paths = tuple(each.path for each in self.ranges)
        return Axis(label=self.label, paths=paths, values=tuple(map(self.row, points)))

    def cell(self, point: Point, share: float | None = None) -> Cell:
        """The cell of a point; with `share`, the one with this share of its steps. Raises RequestError."""
        axis = self.axis([self.start, point])
        made = applied(self.payload, axis, 1)
        request: Any = parse_request(made, self.kind)
        if share is not None:
            made["steps"] = steps_at(request, share)
        return Cell(coords=(0,), shown=axis.shown[1:], payload=made, key=key_of(made))

    def shortened(self, point: Point, share: float) -> float:
        """The cost of a picture at this share of its steps, as a share of a full picture."""
        request: Any = parse_request(applied(self.payload, self.axis([self.start, point]), 1), self.kind)
        return steps_at(request, share) / int(request.steps)

    def highest_cost(self, share: float) -> float:
        """The highest cost of a picture at this share of its steps, in the whole space."""
        varied = any(each.path == "steps" for each in self.ranges)
        return 1.0 if varied else self.shortened(self.start, share)


def steps_at(request: Any, share: float) -> int:
    """The number of steps at a share of a request's steps, at least the minimum of its sampler."""
    steps = math.ceil(share * int(request.steps))
    if isinstance(request, GenerationRequest):
        return max(steps, SAMPLERS[request.sampling.sampler].least)
    return steps


def space_of(payload: Mapping[str, Any], auto: AutoSpec, kind: type[ControlRequest]) -> Space:
    """The space of a job; its values are checked as requests of this kind. Raises RequestError at a range."""
    ranges = tuple(_range(index, spec.path, spec.values) for index, spec in enumerate(auto.ranges))
    paths = [each.path for each in ranges]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise RequestError(f"$.tune.auto.ranges[{index}].path", f"{path} occurs twice")
    for index, each in enumerate(ranges):
        _check(payload, each, f"$.tune.auto.ranges[{index}]", kind)
    request = parse_request(dict(payload), kind)
    start = tuple(each.number(own_value(request, each.path)) for each in ranges)
    return Space(payload=payload, kind=kind, ranges=ranges, start=start)


def _range(index: int, place: str, values: Text) -> Range:
    try:
        return parse_range(place, values)
    except RequestError as error:
        raise RequestError(f"$.tune.auto.ranges[{index}].{error.path or 'path'}", error.message) from error


def _check(payload: Mapping[str, Any], each: Range, where: str, kind: type[ControlRequest]) -> None:
    """Raise RequestError below `where` for a value with which the payload is no request of this kind."""
    rows = tuple((each.at(number),) for number in each.probes)
    axis = Axis(label=each.label, paths=(each.path,), values=rows)
    for index, number in enumerate(each.probes):
        inside = not each.values and number not in (each.low, each.high)
        hint = f"; {WHOLE.format(each.low, each.high)}" if inside else ""
        with _placed(where, axis, index, hint):
            parse_request(applied(payload, axis, index), kind)


@contextmanager
def _placed(where: str, axis: Axis, index: int, hint: str) -> Iterator[None]:
    """Move a RequestError to the range at `where`, and add the value and the path that it was about."""
    try:
        yield
    except RequestError as error:
        if unknown := unknown_axis(error, axis.label, axis.paths):
            raise RequestError(f"{where}.path", unknown.message) from error
        place = f" (at {error.path})" if error.path else ""
        message = f"{axis.shown[index]}: {error.message}{place}{hint}"
        raise RequestError(f"{where}.values", message) from error


def own_value(request: object, path: str) -> object:
    """The value of a request at a path; a constant schedule is returned as its number. None without a value.

    >>> from lib_ctrlgen.request.spec import GenerationRequest
    >>> request = parse_request({"units": [{"model": "a"}], "prompt_weights": {"b": 2}}, GenerationRequest)
    >>> [own_value(request, path) for path in ("units.0.weight", "steps", "prompt.b", "units.1.weight")]
    [1.0, 20, 2.0, None]
    """
    found: Any = request
    names = path.split(".")
    for name in ["prompt_weights", *names[1:]] if names[0] == "prompt" and len(names) > 1 else names:
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, Sequence) and not isinstance(found, str):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = getattr(found, name, None)
    return found.constant if isinstance(found, Schedule) else found
