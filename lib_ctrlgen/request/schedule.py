"""Schedules: numbers that change over the denoising steps.

A schedule is a callable from progress in [0, 1] to a float. Step `i` has the progress
`i / steps`, so the first step has progress 0 and no step has progress 1.

Text form::

    0.8                          constant
    1>0.2                        straight ramp from the first step to the end
    1@0, 1@0.3, 0@0.6            keyframes `value@progress`, joined by lines
    1@0 hold, 0@0.5 smooth, 1@1  an easing for the segment that starts there
    1>0 in 0.2..0.8              zero outside the window [0.2, 0.8)
    1>0 * 0.5@0, 1@1             product of two curves

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

    It is not a dataclass, because msgspec would decode a dataclass field by field instead of from its text.
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
        """Return this schedule limited to `[start, end)`, and zero outside; an `end` of 1 is included.

        The new window is intersected with the window that each curve already has.
        """
        return Schedule(tuple(replace(c, window=intersect(c.window, start, end)) for c in self.curves))

    def sample(self, steps: int) -> tuple[float, ...]:
        """Return the value at `i / steps` for every step `i`."""
        return tuple(self(step / steps) for step in range(steps))

    @property
    def bounds(self) -> tuple[float, float]:
        """A lower and an upper bound of the schedule's values; they need not be reached."""
        low, high = 1.0, 1.0
        for curve in self.curves:
            corners = [a * b for a in (low, high) for b in curve.bounds]
            low, high = min(corners), max(corners)
        return low, high

    @property
    def constant(self) -> float | None:
        """The value if every curve has a single keyframe and no window, otherwise None."""
        if all(len(curve.keyframes) == 1 and curve.window == WHOLE for curve in self.curves):
            return self(0.0)
        return None


def constant(value: float) -> Schedule:
    """Return a schedule that has the same value at every progress."""
    return Schedule((Curve(keyframes=(Keyframe(progress=0.0, value=value),)),))


def parse_schedule(source: str | float | Schedule) -> Schedule:
    """Parse a number or the text form that the module docstring describes.

    Progress must be in 0..1 and must increase from keyframe to keyframe. Values must be finite and
    at most one million in magnitude. Before the first keyframe and after the last one, the schedule has the
    value of that keyframe.

    Raises RequestError for an invalid schedule; the message marks the position in the text.
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
    """One token of the text form: its kind (number, sign, word, other or end), text and character index."""

    kind: str
    text: str
    place: int


def tokens(text: str) -> Iterator[Token]:
    """Split the text form into tokens and finish with an empty token of kind `end`."""
    for match in TOKEN.finditer(text):
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
    yield Token("end", "", len(text))


class Reader:
    """A recursive-descent parser of the text form."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
        self.index = 0

    @property
    def here(self) -> Token:
        """The next token, which is not yet consumed."""
        return self.tokens[self.index]

    def fail(self, message: str, token: Token | None = None) -> RequestError:
        """Return an error whose message marks where `token` (by default the next one) is in the text."""
        place = (token or self.here).place
        shown = f"{self.text[:place]}\N{BLACK RIGHT-POINTING TRIANGLE}{self.text[place:]}"
        return RequestError("", f"{message} at character {place + 1} of the schedule: {shown!r}")

    def accept(self, text: str) -> bool:
        """Consume the next token if it is `text`; return whether it was."""
        found = self.here.text == text
        self.index += found
        return found

    def expect(self, text: str) -> None:
        """Consume the next token, or raise RequestError if it is not `text`."""
        if not self.accept(text):
            raise self.fail(f"expected {text!r}")

    def schedule(self) -> Schedule:
        """Parse the whole text, which is a product of curves."""
        curves = [self.curve()]
        while self.accept("*"):
            if len(curves) == FACTORS:
                raise self.fail(f"a product has at most {FACTORS} factors")
            curves.append(self.curve())
        if self.here.kind != "end":
            raise self.fail(f"unexpected {self.here.text!r}")
        return Schedule(tuple(curves))

    def curve(self) -> Curve:
        """Parse `keyframes [in start..end]`."""
        keyframes = self.keyframes()
        return Curve(keyframes=keyframes, window=self.window() if self.accept("in") else WHOLE)

    def window(self) -> Window:
        """Parse `start..end`; the word `in` is already consumed."""
        start = self.progress()
        self.expect("..")
        place = self.here
        end = self.progress()
        if end < start:
            raise self.fail("a window must not end before it starts", place)
        return Window(start=start, end=end)

    def keyframes(self) -> tuple[Keyframe, ...]:
        """Parse a constant, a ramp `a>b`, or keyframes `value@progress, ...`."""
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
        """Parse `@progress [easing]` after `value`; `previous` is the progress of the keyframe before."""
        self.expect("@")
        place = self.here
        progress = self.progress()
        if progress <= previous:
            raise self.fail("progress must rise from keyframe to keyframe", place)
        return Keyframe(progress=progress, value=value, easing=self.easing())

    def easing(self) -> str:
        """Parse the name of an easing, or return `linear` if none is given."""
        if self.here.kind != "word" or self.here.text == "in":
            return "linear"
        if self.here.text not in EASINGS:
            raise self.fail(f"unknown easing {self.here.text!r} ({nearest(self.here.text, EASINGS)})")
        self.index += 1
        return self.tokens[self.index - 1].text

    def progress(self) -> float:
        """Parse a progress, a number in 0..1."""
        place = self.here
        progress = self.value("progress")
        if not 0.0 <= progress <= 1.0:
            raise self.fail("progress must be in 0..1", place)
        return progress

    def value(self, what: str = "value") -> float:
        """Parse a finite number; `what` names it in the error message."""
        token = self.here
        if token.kind != "number":
            raise self.fail(f"expected a {what} (a number)")
        value = float(token.text)
        if not abs(value) <= LARGEST:
            raise self.fail(f"a {what} must be finite and at most {LARGEST:g}")
        self.index += 1
        return value
