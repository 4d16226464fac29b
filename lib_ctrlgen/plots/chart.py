"""Line charts and coloured tables as blocks of a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import svg
from .figure import GAP, LETTER, LINE, RULE, Block, words
from .plan_view import COLOURS

PALE, DARK = (239, 244, 255), (29, 78, 216)
LEFT, BOTTOM = 46.0, 36.0
CELL = 18.0


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line through points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What a chart shows: the names of its axes, its size in pixels, and whether y is logarithmic.

    `low`, `high` are the ends of the y axis; None: those of the values.
    """

    x: str
    y: str
    width: float
    height: float
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Scale:
    axes: Axes
    first: float
    last: float
    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.first) / ((self.last - self.first) or 1)
        return LEFT + share * (self.axes.width - LEFT - 8)

    def y(self, value: float) -> float:
        low, high, at = (self._size(each) for each in (self.low, self.high, value))
        share = (high - at) / ((high - low) or 1)
        return 18 + share * (self.axes.height - BOTTOM - 18)

    def _size(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self.axes.log else value


def line_chart(axes: Axes, lines: Sequence[Series], *, legend: bool = True) -> Block:
    """A chart of several lines; the legend is at its right."""
    scale = _scale(axes, lines)
    content = _grid(scale) + "".join(_line(scale, line, k) for k, line in enumerate(lines))
    if not legend:
        return Block(width=axes.width, height=axes.height, content=content)
    names = "".join(
        f'<path d="M{svg.number(axes.width + 4)} {svg.number(22 + LINE * k)}h14" stroke="{colour(k)}" '
        f'stroke-width="3"/>' + words(axes.width + 22, 26 + LINE * k, line.name)
        for k, line in enumerate(lines)
    )
    wide = axes.width + 22 + LETTER * max(len(line.name) for line in lines)
    return Block(width=wide, height=max(axes.height, 26 + LINE * len(lines)), content=content + names)


def colour(number: int) -> str:
    """The colour of a line."""
    return COLOURS[number % len(COLOURS)]


def _scale(axes: Axes, lines: Sequence[Series]) -> _Scale:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low = min(ys) if axes.low is None else axes.low
    high = max(ys) if axes.high is None else axes.high
    if high <= low:
        high = low + 1
    return _Scale(axes=axes, first=min(xs), last=max(xs), low=low, high=high)


def _grid(scale: _Scale) -> str:
    axes = scale.axes
    right, bottom = axes.width - 8, axes.height - BOTTOM
    grid = "".join(
        f'<path d="M{svg.number(LEFT)} {svg.number(scale.y(value))}H{svg.number(right)}" stroke="{RULE}"/>'
        + words(LEFT - 5, scale.y(value) + 4, f"{value:.3g}", anchor="end", soft=True)
        for value in ticks(scale.low, scale.high, log=axes.log)
    )
    ends = words(LEFT, bottom + 15, f"{scale.first:g}", anchor="middle", soft=True)
    ends += words(right, bottom + 15, f"{scale.last:g}", anchor="end", soft=True)
    middle = (LEFT + right) / 2
    return grid + ends + words(middle, bottom + 30, axes.x, anchor="middle") + words(0, 10, axes.y)


def ticks(low: float, high: float, *, log: bool = False) -> list[float]:
    """Round values between `low` and `high` at which a y axis has lines, about four.

    >>> ticks(0, 1), ticks(0, 2.89), ticks(0.03, 14.6, log=True)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0, 2.0], [0.1, 1.0, 10.0])
    """
    if log:
        first, last = math.ceil(math.log10(max(low, 1e-9))), math.floor(math.log10(high))
        return [10.0**power for power in range(first, last + 1)]
    power = 10 ** math.floor(math.log10(high - low))
    steps = (power * part for part in (0.25, 0.5, 1.0, 2.0, 2.5))
    step = next(each for each in steps if (high - low) / each < 4.5)
    return [step * k for k in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _line(scale: _Scale, line: Series, number: int) -> str:
    points = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in line.points)
    return f'<polyline points="{points}" fill="none" stroke="{colour(number)}" stroke-width="2"/>'


def heat_table(
    values: Sequence[Sequence[float]], rows: Sequence[str], x: str, *, width: float, most: float | None = None
) -> Block:
    """A table of colours: a row per name, from pale (0) to dark (`most`, or the largest value).

    `x` says what the columns are; they are numbered from 0.
    """
    top = max((value for row in values for value in row), default=0.0) if most is None else most
    label = LETTER * max(len(name) for name in rows) + GAP
    columns = len(values[0])
    wide = (width - label) / columns
    content = ""
    for place, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = CELL * place
        content += words(label - GAP, y + 13, name, anchor="end")
        content += "".join(
            f'<rect x="{svg.number(label + wide * k)}" y="{svg.number(y)}" width="{wide - 1:.1f}" '
            f'height="{CELL - 1:g}" fill="{shade(value / top if top else 0.0)}">'
            f"<title>{value:.3g}</title></rect>"
            for k, value in enumerate(row)
        )
    bottom = CELL * len(rows)
    content += words(label, bottom + 13, "0", soft=True)
    content += words(width, bottom + 13, str(columns - 1), anchor="end", soft=True)
    content += words((label + width) / 2, bottom + 13, x, anchor="middle")
    key = scale_key(top, width)
    return Block(
        width=width,
        height=bottom + LINE + 4 + key.height,
        content=content + f'<g transform="translate(0 {svg.number(bottom + LINE + 4)})">{key.content}</g>',
    )


def scale_key(top: float, width: float) -> Block:
    """The colours from 0 to `top`, at the right end of a line `width` pixels wide."""
    left = width - 160
    boxes = "".join(
        f'<rect x="{svg.number(left + 10 * k)}" y="2" width="10" height="10" fill="{shade(k / 9)}"/>'
        for k in range(10)
    )
    ends = words(left - 6, 11, "0", anchor="end", soft=True) + words(left + 106, 11, f"{top:.3g}", soft=True)
    return Block(width=width, height=LINE, content=boxes + ends)


def shade(share: float) -> str:
    """The colour of a share in 0..1, from pale to dark blue.

    >>> shade(0), shade(1)
    ('#eff4ff', '#1d4ed8')
    """
    part = min(max(share, 0.0), 1.0)
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in zip(PALE, DARK, strict=True))
