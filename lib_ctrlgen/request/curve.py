"""Curves: keyframes joined by easings, inside a window. This is the only implementation of windows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError

Easing: TypeAlias = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """A value at one progress. `easing` is the interpolation from this keyframe to the next one."""

    progress: float
    value: float
    easing: str = "linear"

    def __str__(self) -> str:
        easing = "" if self.easing == "linear" else f" {self.easing}"
        return f"{number(self.value)}@{number(self.progress)}{easing}"


@dataclass(frozen=True, kw_only=True)
class Window:
    """The half-open interval `[start, end)` of progress; an `end` of 1 is included."""

    start: float = 0.0
    end: float = 1.0

    def __contains__(self, progress: float) -> bool:
        return self.start <= progress and (progress < self.end or self.end >= 1.0)

    def __str__(self) -> str:
        return f" in {number(self.start)}..{number(self.end)}"


WHOLE = Window()
NEVER = Window(end=0.0)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A function of progress: keyframes joined by easings inside the window, and zero outside it.

    Raises RequestError if there is no keyframe, or if progress does not increase from keyframe to keyframe.
    """

    keyframes: tuple[Keyframe, ...]
    window: Window = WHOLE

    def __post_init__(self) -> None:
        if not self.keyframes:
            raise RequestError("", "a schedule needs at least one keyframe")
        for earlier, later in pairwise(self.keyframes):
            if earlier.progress >= later.progress:
                raise RequestError("", f"progress must increase: {earlier} comes before {later}")

    @cached_property
    def _tangents(self) -> tuple[float, ...]:
        slopes = monotone_tangents(self.keyframes)
        return tuple(slope if math.isfinite(slope) else 0.0 for slope in slopes)

    def __call__(self, progress: float) -> float:
        """Return the value at `progress` in [0, 1], which is zero outside the window."""
        if progress not in self.window:
            return 0.0
        after = bisect_right(self.keyframes, progress, key=lambda frame: frame.progress)
        if after == 0:
            return self.keyframes[0].value
        if after == len(self.keyframes):
            return self.keyframes[-1].value
        return self._segment(after - 1, progress)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value; no easing leaves the range of its two keyframes."""
        values = [frame.value for frame in self.keyframes] + ([] if self.window == WHOLE else [0.0])
        return min(values), max(values)

    def _segment(self, index: int, progress: float) -> float:
        left, right = self.keyframes[index], self.keyframes[index + 1]
        width = right.progress - left.progress
        t = (progress - left.progress) / width
        if left.easing == "smooth":
            slopes = self._tangents[index] * width, self._tangents[index + 1] * width
            return hermite(t, left.value, right.value, *slopes)
        eased = left.value + (right.value - left.value) * EASINGS[left.easing](t)
        return between(eased, left.value, right.value)

    def __str__(self) -> str:
        only = self.keyframes[0]
        constant = len(self.keyframes) == 1 and only == Keyframe(progress=0.0, value=only.value)
        text = number(only.value) if constant else ", ".join(map(str, self.keyframes))
        return text if self.window == WHOLE else f"{text}{self.window}"


def intersect(window: Window, start: float, end: float) -> Window:
    """Return the part of `window` inside `[start, end)`, or an empty window if they do not overlap."""
    low, high = max(window.start, start), min(window.end, end)
    return Window(start=low, end=high) if low <= high else NEVER


def monotone_tangents(frames: tuple[Keyframe, ...]) -> tuple[float, ...]:
    """Return the slope at each keyframe for a piecewise cubic that never overshoots.

    The method is Fritsch and Butland's (1984): the weighted harmonic mean of the neighbouring slopes,
    as in PCHIP, with the one-sided three-point formula at both ends.
    """
    pairs = list(pairwise(frames))
    widths = [right.progress - left.progress for left, right in pairs]
    slopes = [(b.value - a.value) / width for (a, b), width in zip(pairs, widths, strict=True)]
    if len(slopes) < 2:
        return tuple(slopes * 2)
    inner = [harmonic(*pair) for pair in zip(widths, widths[1:], slopes, slopes[1:], strict=False)]
    first = end_slope(widths[0], widths[1], slopes[0], slopes[1])
    last = end_slope(widths[-1], widths[-2], slopes[-1], slopes[-2])
    return (first, *inner, last)


def harmonic(width0: float, width1: float, slope0: float, slope1: float) -> float:
    """Return the tangent where two segments meet.

    It is zero at an extremum, and infinite where the slopes are too steep for a float.
    """
    if slope0 == 0.0 or slope1 == 0.0 or (slope0 > 0) != (slope1 > 0):
        return 0.0
    weight0, weight1 = 2 * width1 + width0, width1 + 2 * width0
    flatness = weight0 / slope0 + weight1 / slope1
    return (weight0 + weight1) / flatness if flatness else math.inf


def end_slope(width0: float, width1: float, slope0: float, slope1: float) -> float:
    """Return the tangent at the first or last keyframe, limited so that the curve stays monotone."""
    slope = ((2 * width0 + width1) * slope0 - width0 * slope1) / (width0 + width1)
    if slope0 == 0.0 or (slope > 0) != (slope0 > 0):
        return 0.0
    if (slope0 > 0) != (slope1 > 0) and abs(slope) > 3 * abs(slope0):
        return 3 * slope0
    return slope


def hermite(t: float, left: float, right: float, slope_left: float, slope_right: float) -> float:
    """Evaluate the cubic Hermite segment from `left` to `right` at `t` in [0, 1].

    Slopes are changes of the value per length of the segment.
    """
    s = 1.0 - t
    values = (1 + 2 * t) * s * s * left + t * t * (3 - 2 * t) * right
    return between(values + t * s * s * slope_left - t * t * s * slope_right, left, right)


def between(value: float, one: float, other: float) -> float:
    """Clamp `value` to two bounds, given in either order, so that rounding cannot exceed them."""
    return min(max(value, min(one, other)), max(one, other))


EASINGS: dict[str, Easing] = {
    "linear": lambda t: t,
    "hold": lambda _: 0.0,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: 1.0 - (1.0 - t) ** 2,
    "ease-in-out": lambda t: (1.0 - math.cos(math.pi * t)) / 2.0,
    "smooth": lambda t: t * t * (3.0 - 2.0 * t),
}


def number(value: float) -> str:
    """Return the shortest text that parses back to exactly `value`."""
    text = repr(float(value))
    return text.removesuffix(".0")
