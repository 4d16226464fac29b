"""Values of an axis of the WebUI's X/Y/Z plot that change units, in sd-webui-controlnet's notation.

A value changes every unit; a bracketed list has one value per unit, and an empty one leaves its unit alone:
`0.5, [0.2,,1]`. Numbers may be ranges, `0-1 [3]` (three values) or `1-3 (+1)` (in steps), also inside a list.

>>> axis_values(["0.5", "[0.2", "", "1]"], number)
[UnitValues(every=0.5, each=()), UnitValues(every=None, each=(0.2, None, 1.0))]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.tuner.values import read_values

Value: TypeAlias = "bool | int | float | str"
Reader: TypeAlias = Callable[[str], Value]
SWITCHES = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class UnitValues:
    """One value of an axis: `every` for all units, or `each` with a value per unit, None to leave a unit."""

    every: Value | None = None
    each: tuple[Value | None, ...] = ()

    def of(self, unit: int) -> Value | None:
        """The value for the unit of this index; None leaves it as it is."""
        if not self.each:
            return self.every
        return self.each[unit] if unit < len(self.each) else None

    def __str__(self) -> str:
        if not self.each:
            return _shown(self.every)
        return f"[{', '.join(map(_shown, self.each))}]"


def axis_values(pieces: Sequence[str], read: Reader) -> list[UnitValues]:
    """The values of an axis from the pieces that the WebUI made of its text by splitting it at commas.

    Raises RequestError at `values` for a list without its closing bracket, and what `read` raises.
    """
    found: list[UnitValues] = []
    for group in _groups(pieces):
        if len(group) == 1 and not group[0].startswith("["):
            found += [UnitValues(every=value) for value in _expanded(group[0], read) if value is not None]
        else:
            found += _lists(_without_brackets(group), read)
    if not found:
        raise RequestError("values", "give at least one value, such as 0.5 or [0.5,,1]")
    return found


def number(text: str) -> float:
    """A number. Raises RequestError at `values`."""
    try:
        return float(text)
    except ValueError as error:
        raise RequestError("values", f"{text!r} is not a number") from error


def whole_number(text: str) -> int:
    """A whole number. Raises RequestError at `values`."""
    value = number(text)
    if not value.is_integer():
        raise RequestError("values", f"{text!r} is not a whole number")
    return int(value)


def switch(text: str) -> bool:
    """A switch: true, false, 1 or 0. Raises RequestError at `values`."""
    if text.lower() not in SWITCHES:
        raise RequestError("values", f"{text!r} is neither true nor false")
    return SWITCHES[text.lower()]


def _groups(pieces: Sequence[str]) -> Iterator[list[str]]:
    """The pieces of each value: those from a piece that opens a bracket to the one that closes it.

    A piece that does not begin with a bracket is a value of its own, such as `canny [abcdef12]`.
    """
    group: list[str] = []
    for piece in (each.strip() for each in pieces):
        group.append(piece)
        open_brackets = sum(each.count("[") - each.count("]") for each in group)
        if group[0].startswith("[") and open_brackets > 0:
            continue
        yield group
        group = []
    if group:
        raise RequestError("values", f"the list {', '.join(group)!r} has no closing bracket")


def _without_brackets(group: list[str]) -> list[str]:
    texts = [group[0].removeprefix("["), *group[1:]]
    texts[-1] = texts[-1].removesuffix("]")
    return [text.strip() for text in texts]


def _lists(texts: Sequence[str], read: Reader) -> list[UnitValues]:
    """A list per value of its longest range; the shorter ranges keep their last value."""
    columns = [_expanded(text, read) for text in texts]
    longest = max(map(len, columns))
    rows = zip(*([*each, *each[-1:] * (longest - len(each))] for each in columns), strict=True)
    return [UnitValues(each=tuple(row)) for row in rows]


def _expanded(text: str, read: Reader) -> list[Value | None]:
    """The values of one text: None for an empty one, several for a range of numbers."""
    if text in ("", "None"):
        return [None]
    if read not in (number, whole_number):
        return [read(text)]
    return [read(str(value)) for value in read_values(text)]


def _shown(value: Value | None) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    return "" if value is None else str(value)
