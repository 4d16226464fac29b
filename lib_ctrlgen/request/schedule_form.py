"""Whether a text is written like a schedule, before its numbers are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from .curve import EASINGS
from .schedule import Token, tokens

# The grammar of `schedule` over kinds of tokens instead of tokens.
CURVE = r"n(?:>ne?|@ne?(?:,n@ne?)*)?(?:in-n)?"
SCHEDULE = re.compile(rf"{CURVE}(?:\*{CURVE})*")


@dataclass(frozen=True)
class Form:
    """The kinds of a text's tokens, one letter each.

    n number, e easing, i `in`, - `..`, the signs @ > , * themselves, and ? for what no schedule has.

    >>> Form.of("1@0 hold, 0@0.5 in 0..0.7").kinds, Form.of("50mm > 3 cats").kinds
    ('n@ne,n@nin-n', '??>n?')
    """

    kinds: str

    @staticmethod
    def of(text: str) -> Form:
        """The form of a text. A number that touches a strange word or sign, as in 50mm or 1/200, is none."""
        found = list(tokens(text))[:-1]
        kinds = [_kind(token) for token in found]
        for place, (left, right) in enumerate(pairwise(found)):
            pair = kinds[place : place + 2]
            if "?" in pair and left.place + len(left.text) == right.place:
                kinds[place : place + 2] = [kind.replace("n", "?") for kind in pair]
        return Form("".join(kinds))

    @property
    def whole(self) -> bool:
        """Whether the text is wholly of the schedule grammar, whatever its numbers are."""
        return SCHEDULE.fullmatch(self.kinds) is not None

    @property
    def scheduled(self) -> bool:
        """Whether it is, and has a keyframe, a ramp or a window."""
        return self.whole and any(kind in self.kinds for kind in "@>i")

    @property
    def missed(self) -> bool:
        """Whether there is a keyframe or a ramp of numbers anywhere in it."""
        return "n@n" in self.kinds or "n>n" in self.kinds


def _kind(token: Token) -> str:
    if token.kind == "word":
        return "i" if token.text == "in" else "e" if token.text in EASINGS else "?"
    return {"number": "n", "other": "?"}.get(token.kind, "-" if token.text == ".." else token.text)
