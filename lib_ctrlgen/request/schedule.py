"""Schedules: numbers that change over the denoising steps.

A schedule is a callable `progress in [0, 1] -> float`. Steps are sampled at
`i / steps`, so the first step has progress 0 and none has progress 1.

Text form::

    0.8                          constant
    1>0.2                        straight ramp from the first step to the end
    1@0, 1@0.3, 0@0.6            keyframes `value@progress`, joined by lines
    1@0 hold, 0@0.5 smooth, 1@1  an easing for the segment that starts there
    1>0 in 0.2..0.8              zero outside the window [0.2, 0.8)
    1>0 * 0.5@0, 1@1             product

>>> ramp = parse_schedule("1>0.2")
>>> [round(value, 2) for value in ramp.sample(4)]
[1.0, 0.8, 0.6, 0.4]
>>> str(parse_schedule("1@0, 0.6@0.4 ease-in, 0@1").within(0.25, 1))
'1@0, 0.6@0.4 ease-in, 0@1 in 0.25..1'
>>> parse_schedule(0.8)(0.3)
0.8
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lib_ctrlgen.errors import RequestError, nearest

from .curve import EASINGS, WHOLE, Curve, Keyframe, Window, intersect

LARGEST = 1e6
FACTORS = 6  # LARGEST ** 6 is finite in float32
TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>\.\.|[@>,*])"
    r"|(?P<word>[A-Za-z][A-Za-z-]*)"
    r"|(?P<other>\S))"
)


class Schedule:
    """A product of curves; most schedules have exactly one. Immutable, compared by value.

    Not a dataclass: msgspec would read those field by field instead of as text.
    """

    __slots__ = ("curves",)
    curves: tuple[Curve, ...]

    def __init__(self, curves: tuple[Curve, ...]) -> None:
        object.__setattr__(self, "curves", curves)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Schedule is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.curves == other.curves

    def __hash__(self) -> int:
        return hash(self.curves)

    def __reduce__(self) -> tuple[type[Schedule], tuple[tuple[Curve, ...]]]:
        return Schedule, (self.curves,)

    def __repr__(self) -> str:
        return f"parse_schedule({str(self)!r})"

    def __call__(self, progress: float) -> float:
        """The value at `progress` in [0, 1]."""
        return math.prod(curve(progress) for curve in self.curves)

    def __mul__(self, other: Schedule) -> Schedule:
        return Schedule(self.curves + other.curves)

    def __str__(self) -> str:
        return " * ".join(map(str, self.curves))

    def within(self, start: float, end: float) -> Schedule:
        """This schedule inside `[start, end)` (closed at 1), zero outside. Windows intersect."""
        return Schedule(tuple(replace(c, window=intersect(c.window, start, end)) for c in self.curves))

    def sample(self, steps: int) -> tuple[float, ...]:
        """The values at `i / steps` for every step `i`."""
        return tuple(self(step / steps) for step in range(steps))

    @property
    def bounds(self) -> tuple[float, float]:
        """Two values between which the schedule stays at every progress."""
        low, high = 1.0, 1.0
        for curve in self.curves:
            corners = [a * b for a in (low, high) for b in curve.bounds]
            low, high = min(corners), max(corners)
        return low, high

    @property
    def constant(self) -> float | None:
        """The value if it is the same at every progress, else None."""
        if all(len(curve.keyframes) == 1 and curve.window == WHOLE for curve in self.curves):
            return self(0.0)
        return None


def constant(value: float) -> Schedule:
    """A schedule that never changes."""
    return Schedule((Curve(keyframes=(Keyframe(progress=0.0, value=value),)),))


def parse_schedule(source: str | float | Schedule) -> Schedule:
    """Read a number or the text form (see the module's head).

    Progress lies in 0..1 and rises strictly; values are finite, at most a million.
    Before the first and after the last keyframe the nearest value holds.

    Raises RequestError that shows the place.
    """
    if isinstance(source, Schedule):
        return source
    if isinstance(source, str):
        return Reader(source).schedule()
    if isinstance(source, bool) or not isinstance(source, (int, float)):
        raise RequestError("", f"expected a number or a schedule text, got {type(source).__name__}")
    if not abs(source) <= LARGEST:
        raise RequestError("", f"a weight must be finite and at most {LARGEST:g}")
    return constant(float(source))


@dataclass(frozen=True)
class Token:
    """One word of the text form; `kind` is number, sign, word, other or end."""

    kind: str
    text: str
    place: int


def tokens(text: str) -> Iterator[Token]:
    """Split the text form; the last token is an empty one of kind `end`."""
    for match in TOKEN.finditer(text):
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
    yield Token("end", "", len(text))


class Reader:
    """A recursive-descent reader of the text form."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
        self.index = 0

    @property
    def here(self) -> Token:
        """The token that is read next."""
        return self.tokens[self.index]

    def fail(self, message: str, token: Token | None = None) -> RequestError:
        """An error that shows the place of `token` in the text."""
        place = (token or self.here).place
        shown = f"{self.text[:place]}\N{BLACK RIGHT-POINTING TRIANGLE}{self.text[place:]}"
        return RequestError("", f"{message} at character {place + 1} of the schedule: {shown!r}")

    def accept(self, text: str) -> bool:
        """Step over `text` if it comes next."""
        found = self.here.text == text
        self.index += found
        return found

    def expect(self, text: str) -> None:
        """Step over `text`, which must come next."""
        if not self.accept(text):
            raise self.fail(f"expected {text!r}")

    def schedule(self) -> Schedule:
        """The whole text: a product of curves."""
        curves = [self.curve()]
        while self.accept("*"):
            if len(curves) == FACTORS:
                raise self.fail(f"a product has at most {FACTORS} factors")
            curves.append(self.curve())
        if self.here.kind != "end":
            raise self.fail(f"unexpected {self.here.text!r}")
        return Schedule(tuple(curves))

    def curve(self) -> Curve:
        """`keyframes [in start..end]`."""
        keyframes = self.keyframes()
        return Curve(keyframes=keyframes, window=self.window() if self.accept("in") else WHOLE)

    def window(self) -> Window:
        """`start..end`, after the word `in`."""
        start = self.progress()
        self.expect("..")
        place = self.here
        end = self.progress()
        if end < start:
            raise self.fail("a window must not end before it starts", place)
        return Window(start=start, end=end)

    def keyframes(self) -> tuple[Keyframe, ...]:
        """A constant, a ramp `a>b`, or `value@progress, ...`."""
        value = self.value()
        if self.accept(">"):
            last = self.value()
            easing = self.easing()
            first = Keyframe(progress=0.0, value=value, easing=easing)
            return (first, Keyframe(progress=1.0, value=last))
        if self.here.text != "@":
            return (Keyframe(progress=0.0, value=value),)
        frames = [self.keyframe(value, -1.0)]
        while self.accept(","):
            frames.append(self.keyframe(self.value(), frames[-1].progress))
        return tuple(frames)

    def keyframe(self, value: float, previous: float) -> Keyframe:
        """`@progress [easing]`, after the value."""
        self.expect("@")
        place = self.here
        progress = self.progress()
        if progress <= previous:
            raise self.fail("progress must rise from keyframe to keyframe", place)
        return Keyframe(progress=progress, value=value, easing=self.easing())

    def easing(self) -> str:
        """The name of an easing, `linear` when there is none."""
        if self.here.kind != "word" or self.here.text == "in":
            return "linear"
        if self.here.text not in EASINGS:
            raise self.fail(f"unknown easing {self.here.text!r} ({nearest(self.here.text, EASINGS)})")
        self.index += 1
        return self.tokens[self.index - 1].text

    def progress(self) -> float:
        """A number in 0..1."""
        place = self.here
        progress = self.value("progress")
        if not 0.0 <= progress <= 1.0:
            raise self.fail("progress must lie in 0..1", place)
        return progress

    def value(self, what: str = "value") -> float:
        """A finite number."""
        token = self.here
        if token.kind != "number":
            raise self.fail(f"expected a {what} (a number)")
        value = float(token.text)
        if not abs(value) <= LARGEST:
            raise self.fail(f"a {what} must be finite and at most {LARGEST:g}")
        self.index += 1
        return value
