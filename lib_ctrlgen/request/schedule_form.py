"""Recognises texts that are schedules, or are probably meant as schedules, by the kinds of their tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from .curve import EASINGS
from .schedule import Token, tokens

# The grammar of `schedule`, written over the letters of `Form.kinds`.
CURVE = r"n(?:>ne?|@ne?(?:,n@ne?)*)?(?:in-n)?"
SCHEDULE = re.compile(rf"{CURVE}(?:\*{CURVE})*")


@dataclass(frozen=True)
class Form:
    """The kinds of a text's tokens, one letter each.

    n is a number, e an easing, i the word `in`, - is `..`; @ > , * are these signs; ? is any other token.

    >>> Form.of("1@0 hold, 0@0.5 in 0..0.7").kinds, Form.of("50mm > 3 cats").kinds
    ('n@ne,n@nin-n', '??>n?')
    """

    kinds: str

    @staticmethod
    def of(text: str) -> Form:
        """The form of a text. A number that touches a foreign word or sign (50mm, 1/200) counts as ?."""
        found = list(tokens(text))[:-1]
        kinds = [_kind(token) for token in found]
        for place, (left, right) in enumerate(pairwise(found)):
            pair = kinds[place : place + 2]
            if "?" in pair and left.place + len(left.text) == right.place:
                kinds[place : place + 2] = [kind.replace("n", "?") for kind in pair]
        return Form("".join(kinds))

    @property
    def whole(self) -> bool:
        """Whether the whole text follows the grammar of schedules; its numbers may still be out of range."""
        return SCHEDULE.fullmatch(self.kinds) is not None

    @property
    def scheduled(self) -> bool:
        """Whether the whole text follows the grammar and has a keyframe, a ramp or a window."""
        return self.whole and any(kind in self.kinds for kind in "@>i")

    @property
    def missed(self) -> bool:
        """Whether the text contains a keyframe or a ramp of numbers, perhaps among other words."""
        return "n@n" in self.kinds or "n>n" in self.kinds


def _kind(token: Token) -> str:
    if token.kind == "word":
        return "i" if token.text == "in" else "e" if token.text in EASINGS else "?"
    return {"number": "n", "other": "?"}.get(token.kind, "-" if token.text == ".." else token.text)
