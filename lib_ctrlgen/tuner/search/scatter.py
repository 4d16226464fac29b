"""A scatter plot of a search's candidates as an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeAlias

from lib_ctrlgen.plots import svg

WIDTH, HEIGHT = 380, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 44
TICKS = 4
LETTER = 6.2  # approximate width of a letter in the legend, pixels
MARGIN = 0.06  # free space on each side, as a share of the range of values

Mark: TypeAlias = Literal["plain", "front", "best", "stopped"]
LOOKS: dict[Mark, str] = {
    "stopped": 'r="3" fill="none" stroke="#9ca3af"',
    "plain": 'r="4" fill="#93a4bd"',
    "front": 'r="4.5" fill="#374151"',
    "best": 'r="7" fill="#1d4ed8" stroke="#fff" stroke-width="1.5"',
}
WORDS: dict[Mark, str] = {
    "best": "recommended", "front": "beaten by none", "plain": "others", "stopped": "stopped early",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point, the standard errors of both coordinates (0: not known), and the text of its tooltip."""

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    mark: Mark = "plain"
    text: str = ""


@dataclass(frozen=True)
class Scale:
    """Maps numbers to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a number in pixels; numbers outside of the scale are drawn at its edge."""
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """The round numbers that label the axis."""
        least = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(least))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(step * i, 12) for i in range(first, last + 1)]


def scale(values: Sequence[float], errors: Sequence[float], start: float, end: float) -> Scale:
    """A scale that covers all values with their errors."""
    low = min((v - e for v, e in zip(values, errors, strict=True)), default=0.0)
    high = max((v + e for v, e in zip(values, errors, strict=True)), default=1.0)
    margin = MARGIN * (high - low) or 0.5
    return Scale(low - margin, high + margin, start, end)


def scatter(dots: Sequence[Dot], x: str, y: str) -> str:
    """A scatter plot with axes named `x` and `y`, error bars and a legend, as SVG; marked dots are on top.

    The scales cover only candidates that were not stopped, because stopped ones have scores of fewer steps.
    """
    finished = [dot for dot in dots if dot.mark != "stopped"]
    across = scale([d.x for d in finished], [d.dx for d in finished], LEFT, WIDTH - RIGHT)
    up = scale([d.y for d in finished], [d.dy for d in finished], HEIGHT - BOTTOM, TOP)
    order = list(LOOKS)
    drawn = "".join(_dot(dot, across, up) for dot in sorted(dots, key=lambda dot: order.index(dot.mark)))
    middle = (LEFT + WIDTH - RIGHT) / 2
    box = f'width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    frame = f'<rect x="{LEFT}" y="{TOP}" {box} fill="none" stroke="#8886"/>'
    names = svg.text(middle, HEIGHT - 8, x, anchor="middle", bold=True)
    names += svg.text(12, HEIGHT / 2 - 6, y, anchor="middle", bold=True, rotated=True)
    content = frame + _ticks(across, up) + drawn + _legend(dots) + names
    return svg.document(WIDTH, HEIGHT, f"{y} over {x}", content) + "\n"


def _ticks(across: Scale, up: Scale) -> str:
    below = "".join(
        svg.text(across(value), HEIGHT - BOTTOM + 15, f"{value:.6g}", anchor="middle")
        for value in across.ticks
    )
    beside = "".join(svg.text(LEFT - 5, up(value) + 4, f"{value:.6g}", anchor="end") for value in up.ticks)
    return below + beside


def _dot(dot: Dot, across: Scale, up: Scale) -> str:
    x, y = across(dot.x), up(dot.y)
    bars = ""
    if dot.dx:
        bars += f'<path d="M{across(dot.x - dot.dx)} {y}H{across(dot.x + dot.dx)}" stroke="#6b728099"/>'
    if dot.dy:
        bars += f'<path d="M{x} {up(dot.y - dot.dy)}V{up(dot.y + dot.dy)}" stroke="#6b728099"/>'
    title = f"<title>{escape(dot.text)}</title>"
    return f'<g>{bars}<circle cx="{x}" cy="{y}" {LOOKS[dot.mark]}>{title}</circle></g>'


def _legend(dots: Sequence[Dot]) -> str:
    """The marks that occur, above the plot."""
    found, at = "", 14.0
    for mark in (mark for mark in WORDS if any(dot.mark == mark for dot in dots)):
        found += f'<g transform="translate({at:.0f} 14)"><circle {LOOKS[mark]}/>'
        found += svg.text(10, 4, WORDS[mark]) + "</g>"
        at += 28 + LETTER * len(WORDS[mark])
    return found
