r"""Reads the values of an axis from a text: a list with ranges, on one line, or one value per line.

>>> read_values('0.2, 0.6-1 [3], "1@0, 0@1" , 1>0')
[0.2, 0.6, 0.8, 1, '1@0, 0@1', '1>0']
>>> read_values("1@0, 0@1 \n 1>0")
['1@0, 0@1', '1>0']
>>> read_values("true, false")
[True, False]
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts.numbers import plain_number
from lib_ctrlgen.request.schedule import parse_schedule

Value: TypeAlias = bool | int | float | str

MAX_VALUES = 256
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
SPACED = re.compile(rf"\s*({NUMBER})\s*-\s*({NUMBER})\s*\[\s*(\d+)\s*\]\s*")
STEPPED = re.compile(rf"\s*({NUMBER})\s*-\s*({NUMBER})\s*\(\s*({NUMBER})\s*\)\s*")
PLAIN = re.compile(rf"\s*{NUMBER}\s*")
PIECE = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^",][^,]*|))(?P<end>,|$)')
SWITCHES = {"true": True, "false": False}


def read_values(text: str, *, texts: bool = False) -> list[Value]:
    """The values in a text: ranges are expanded, numbers, true and false are converted, others stay texts.

    With `texts`, only ranges are expanded. Raises RequestError at `values`.
    """
    pieces = _lines(text) if "\n" in text.strip() else _pieces(text)
    return [value for piece in pieces for value in _values(piece, texts=texts)]


def require_whole_schedules(items: Sequence[object]) -> None:
    """Raise RequestError at `values` if two or more values are single keyframes.

    `1@0, 0@1` without quotes is two values, each of them constant; it is almost certainly meant as one
    schedule.
    """
    lone = [item for item in items if isinstance(item, str) and is_lone_keyframe(item)]
    if len(lone) > 1:
        joined = ", ".join(lone)
        raise RequestError(
            "values",
            f"{' and '.join(map(repr, lone[:2]))} are two values, each of them constant. If they are "
            f'keyframes of one schedule, quote it: "{joined}" (in a YAML list, too); for constants, '
            "write only the numbers",
        )


def is_lone_keyframe(text: str) -> bool:
    """Whether a text is a schedule with a single keyframe and no easing, such as `1@0`.

    >>> [is_lone_keyframe(text) for text in ("1@0", "1@0, 0@1", "1>0", "0.5", "a@b")]
    [True, False, False, False, False]
    """
    if "@" not in text or "," in text:
        return False
    try:
        parse_schedule(text)
    except RequestError:
        return False
    return True


def _lines(text: str) -> Iterator[str]:
    """Split a text with one value per line; if lines end with a comma, the text is one wrapped list."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if all(line.endswith(",") for line in lines[:-1]):
        yield from _pieces(" ".join(lines))
        return
    for number, line in enumerate(lines, 1):
        found = _quoted(line)
        if found is None and "," in line and all(map(_is_number, line.split(","))):
            message = f"line {number} has several values ({line}): write one per line, or all on one line"
            raise RequestError("values", message)
        yield line if found is None else found


def _quoted(line: str) -> str | None:
    """The value of a line that is a single quoted value; None for other lines."""
    found = PIECE.fullmatch(line)
    return None if found is None or found["quoted"] is None else found["quoted"].replace('""', '"')


def _is_number(piece: str) -> bool:
    return any(pattern.fullmatch(piece) for pattern in (PLAIN, SPACED, STEPPED))


def _pieces(text: str) -> Iterator[str]:
    """Split at commas and remove quotes around the pieces; inside, a doubled quote stands for one."""
    place = 0
    while True:
        found = PIECE.match(text, place)
        if found is None:
            raise RequestError("values", _wrong_quote(text, place))
        quoted = found["quoted"]
        piece = found["plain"].strip() if quoted is None else quoted.replace('""', '"')
        if not piece.strip():
            missing = "" if text.strip() else ": give at least one value, such as 0.2, 0.4 or 0-1 [5]"
            raise RequestError("values", f"an empty value in {text!r}{missing}")
        yield piece
        place = found.end()
        if not found["end"]:
            return


def _wrong_quote(text: str, place: int) -> str:
    start = text.index('"', place)
    end = text.find('"', start + 1)
    if end < 0:
        return f"a quote is not closed in {text!r}"
    return f"after the quoted value {text[start : end + 1]} a comma must follow, in {text!r}"


def _values(piece: str, *, texts: bool) -> Iterator[Value]:
    spaced, stepped = SPACED.fullmatch(piece), STEPPED.fullmatch(piece)
    if spaced:
        yield from _spaced(float(spaced[1]), float(spaced[2]), int(spaced[3]))
    elif stepped:
        yield from _stepped(float(stepped[1]), float(stepped[2]), float(stepped[3]))
    else:
        yield piece.strip() if texts else single_value(piece)


def single_value(piece: str) -> Value:
    """The number or truth value that a text is, or else the text itself."""
    text = piece.strip()
    return number(text) if PLAIN.fullmatch(text) else SWITCHES.get(text.lower(), text)


def _spaced(first: float, last: float, count: int) -> Iterator[Value]:
    """The values of `0-1 [5]`: five evenly spaced ones, both ends included."""
    if not 1 <= count <= MAX_VALUES:
        raise RequestError("values", f"[{count}] must be 1..{MAX_VALUES}")
    if count == 1:
        yield rounded(first)
    else:
        yield from (rounded(first + (last - first) * i / (count - 1)) for i in range(count))


def _stepped(first: float, last: float, step: float) -> Iterator[Value]:
    """The values of `0.5-1.5 (+0.25)`: in steps, up to the end or the last step before it."""
    if step == 0 or (last - first) * step < 0:
        raise RequestError("values", f"steps of {step:g} do not lead from {first:g} to {last:g}")
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MAX_VALUES:
        raise RequestError("values", f"{count} values are more than {MAX_VALUES}")
    yield from (rounded(first + step * i) for i in range(count))


def rounded(value: float) -> Value:
    """A number without floating-point noise; a whole number becomes an int."""
    return number(plain_number(value))


def number(text: str) -> Value:
    """Parse a number: an int if it is whole and written without a decimal point, else a float."""
    value = float(text)
    return int(value) if value.is_integer() and "." not in text else value


def shown_value(value: Value) -> str:
    """A value as a text for sheets and reports.

    >>> [shown_value(value) for value in (True, 0.25, "1>0")]
    ['true', '0.25', '1>0']
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
