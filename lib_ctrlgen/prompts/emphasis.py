r"""Parses the WebUI's attention syntax into pieces of a prompt with their weights.

`(x)` is 1.1, `[x]` is 1 / 1.1, `(x:1.3)` is 1.3; nested brackets multiply, `\(` is a plain character, and an
unclosed bracket lasts to the end. `BREAK` starts another chunk of 75 tokens. Inside a weighted bracket it
is an ordinary word with a negative weight, because the WebUI recognises it by its weight of -1.

>>> [(piece.text, piece.weight) for piece in parse_emphasis("a (big:1.5) cat")]
[('a ', 1.0), ('big', 1.5), (' cat', 1.0)]
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from lib_ctrlgen.errors import RequestError

PLAIN = {"(": 1.1, "[": 1 / 1.1}
TOKEN = re.compile(r"\\(?P<letter>[()\[\]\\]?)|(?P<sign>[()\[\]])|:\s*(?P<weight>[+-]?[.\d]+)\s*\)")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
BREAK_WORD, BREAK_WEIGHT = "BREAK", -1.0


@dataclass(frozen=True)
class WeightedText:
    """A piece of a prompt and its weight; `text` is None for a BREAK."""

    text: str | None
    weight: float = 1.0


def parse_emphasis(prompt: str) -> list[WeightedText]:
    """The pieces of a prompt, at least one; neighbours of equal weight are joined.

    Raises RequestError for a weight of dots and digits that is no number, as in `(wait:...)`; the WebUI
    fails there too.
    """
    reader = _Reader()
    done = 0
    for match in TOKEN.finditer(prompt):
        if reader.closes_nothing(match):
            continue  # plain text
        reader.text(prompt[done : match.start()])
        reader.token(match)
        done = match.end()
    reader.text(prompt[done:])
    reader.end()
    return _joined(reader.pieces)


CLOSES = {")": "(", "]": "["}


@dataclass
class _Reader:
    """The pieces so far, and for each kind of bracket the pieces at which open brackets began."""

    pieces: list[WeightedText] = field(default_factory=list)
    opened: dict[str, list[int]] = field(default_factory=lambda: {"(": [], "[": []})

    def closes_nothing(self, match: re.Match[str]) -> bool:
        opener = "(" if match["weight"] else CLOSES.get(match["sign"] or "")
        return opener is not None and not self.opened[opener]

    def text(self, text: str) -> None:
        for number, part in enumerate(BREAK.split(text) if text else ()):
            self.pieces += [WeightedText(BREAK_WORD, BREAK_WEIGHT)] * (number > 0)
            self.pieces.append(WeightedText(part))

    def token(self, match: re.Match[str]) -> None:
        if match["letter"] is not None:
            self.pieces.append(WeightedText(match["letter"]))
        elif match["weight"]:
            self.scale(self.opened["("].pop(), _number(match["weight"]))
        elif match["sign"] in self.opened:
            self.opened[match["sign"]].append(len(self.pieces))
        else:
            opener = CLOSES[match["sign"]]
            self.scale(self.opened[opener].pop(), PLAIN[opener])

    def scale(self, start: int, factor: float) -> None:
        self.pieces[start:] = [replace(piece, weight=piece.weight * factor) for piece in self.pieces[start:]]

    def end(self) -> None:
        for opener, starts in self.opened.items():
            for start in starts:
                self.scale(start, PLAIN[opener])


def _number(text: str) -> float:
    """A weight written in dots and digits. Raises RequestError if it is no number."""
    try:
        found = float(text)
    except ValueError:
        found = math.inf
    if math.isfinite(found):
        return found
    raise RequestError(
        "",
        f"the weight '{text}' after the colon at a bracket's end is no number: write a number such as 1.2, "
        r"or \) for a bracket that is text",
    )


def _joined(pieces: list[WeightedText]) -> list[WeightedText]:
    joined: list[WeightedText] = []
    for piece in pieces:
        if joined and joined[-1].weight == piece.weight:
            joined[-1] = WeightedText(f"{joined[-1].text}{piece.text}", piece.weight)
        else:
            joined.append(piece)
    broken = WeightedText(BREAK_WORD, BREAK_WEIGHT)
    found = [WeightedText(None) if piece == broken else piece for piece in joined if piece.text != ""]
    return found or [WeightedText("")]
