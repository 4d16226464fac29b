r"""Scheduled weights inside prompts, on top of the WebUI's attention grammar.

Wherever the grammar takes a weight, a schedule or a named weight may stand::

    (neon sign:1.4@0, 1@0.5, 0.6@1)    a weight over the steps, see `schedule`
    (fog:0.2>1.3)                      a ramp
    (neon sign:glow=1.2)               a weight with a name, for tuning
    a cat AND oil painting :0.2@0, 1@0.6

Everything else is left as it is: ordinary `(x:1.2)`, `[x]`, `[a:b:0.4]`, `[a|b]`, `BREAK`,
textual inversion, `<lora:name:0.8>`. At each progress the prompt is an ordinary one, so the host
reads it with its own code.

>>> prompt = parse_prompt("a (neon sign:1.4>1) at (night:1.1)")
>>> prompt.at(0.5)
'a (neon sign:1.2) at (night:1.1)'
>>> parse_prompt("a (sign:glow=1.2)").at(0, {"glow": constant(0.5)})
'a (sign:0.5)'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from .errors import RequestError, nearest
from .schedule import Schedule, constant, parse_schedule

NOTHING: Mapping[str, Schedule] = MappingProxyType({})

# What an ordinary weight of the WebUI looks like, in brackets and behind an AND part.
PLAIN_WEIGHT = re.compile(r"\s*[+-]?[.\d]+\s*")
# What is meant as a schedule: it begins with a number or `name=`, and says more than a number.
NAME = r"(?:(?P<name>[A-Za-z_]\w*)\s*=\s*)?"
MEANT = re.compile(rf"\s*{NAME}(?P<text>[+-]?(?:\d|\.\d)[\w.,@>*+\s-]*?)\s*")
MORE = re.compile(r"[@>*=]|\bin\b")
PIECE = re.compile(r"\\.|<\w+:[^<>]*>|\bAND\b|[()\[\]:]", re.DOTALL)

Named: TypeAlias = Mapping[str, Schedule]


@dataclass(frozen=True, kw_only=True)
class PromptWeight:
    """A weight that the WebUI cannot read itself; `label` is the text that it weighs."""

    schedule: Schedule
    label: str
    name: str | None = None

    def at(self, progress: float, named: Named) -> str:
        """The weight as the WebUI writes it; `named` values replace those of their names."""
        schedule = named.get(self.name, self.schedule) if self.name else self.schedule
        return plain_number(schedule(progress))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as plain text with weights between it."""

    parts: tuple[str | PromptWeight, ...]

    @property
    def weights(self) -> tuple[PromptWeight, ...]:
        """The weights that are schedules or have a name, from left to right."""
        return tuple(part for part in self.parts if isinstance(part, PromptWeight))

    def at(self, progress: float, named: Named = NOTHING) -> str:
        """The ordinary prompt at `progress` in [0, 1]."""
        return "".join(part if isinstance(part, str) else part.at(progress, named) for part in self.parts)


def plain_number(value: float) -> str:
    """A weight in digits, without an exponent, which the WebUI does not read.

    >>> plain_number(0.1 + 0.2), plain_number(-2.0), plain_number(1e-9)
    ('0.3', '-2', '0')
    """
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def parse_prompt(text: str) -> Prompt:
    """Find the scheduled and the named weights of a prompt.

    Raises RequestError that shows the place for a schedule that is malformed or not closed.
    """
    spans = [*_spans(text)] if MORE.search(text) else []
    parts: list[str | PromptWeight] = []
    done = 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[done : span.start], span.weight]
        done = span.end
    parts.append(text[done:])
    return Prompt(parts=tuple(part for part in parts if part != ""))


@dataclass(frozen=True, kw_only=True)
class _Span:
    start: int
    end: int
    weight: PromptWeight


@dataclass
class _Open:
    """A bracket that is open, or the whole AND part: where it and its last colon stand."""

    sign: str
    start: int
    colon: int | None = None


@dataclass
class _Reader:
    """Walks over a prompt's brackets and colons."""

    text: str
    stack: list[_Open] = field(default_factory=lambda: [_Open("", 0)])

    def close(self, end: int) -> Iterator[_Span]:
        """A `)`: the weight behind the last colon inside, if it is one of ours."""
        if not any(level.sign == "(" for level in self.stack):
            return
        while (level := self.stack.pop()).sign != "(":
            pass
        yield from self.weight(level, end)

    def part(self, end: int) -> Iterator[_Span]:
        """The end of an AND part: its weight stands outside all brackets. Brackets end with it."""
        for level in self.stack[1:]:
            if level.sign == "(" and any(self.weight(level, end)):
                raise _error(self.text, level.start, "a scheduled weight whose bracket is not closed")
        yield from self.weight(self.stack[0], end)
        self.stack = [_Open("", end + 3)]

    def weight(self, level: _Open, end: int) -> Iterator[_Span]:
        """The weight between a level's last colon and `end`."""
        if level.colon is None:
            return
        start = level.colon + 1
        found = MEANT.fullmatch(self.text, start, end)
        if found is None or PLAIN_WEIGHT.fullmatch(self.text, start, end):
            return
        if not found["name"] and not MORE.search(found["text"]):
            return
        schedule = _schedule(self.text, found.start("text"), found["text"])
        label = self.text[level.start + bool(level.sign) : level.colon].strip()
        weight = PromptWeight(schedule=schedule, label=label, name=found["name"])
        yield _Span(start=start, end=found.end("text"), weight=weight)


def _spans(text: str) -> Iterator[_Span]:
    reader = _Reader(text)
    for match in PIECE.finditer(text):
        sign, place = match[0], match.start()
        if sign in "([":
            reader.stack.append(_Open(sign, place))
        elif sign == ":":
            reader.stack[-1].colon = place
        elif sign == ")":
            yield from reader.close(place)
        elif sign == "]" and reader.stack[-1].sign == "[":
            reader.stack.pop()
        elif sign == "AND":
            yield from reader.part(place)
    yield from reader.part(len(text))


def _schedule(text: str, start: int, source: str) -> Schedule:
    try:
        return parse_schedule(source)
    except RequestError as error:
        raise _error(text, start, error.message) from error


def _error(text: str, place: int, message: str) -> RequestError:
    before, after = text[max(0, place - 24) : place], text[place : place + 24]
    return RequestError("", f"{message} (in the prompt at character {place + 1}: ...{before}>>>{after}...)")


def require_names(named: Named, weights: Iterable[PromptWeight]) -> None:
    """Raise RequestError for a named weight that none of these weights has as its name."""
    known = {weight.name for weight in weights if weight.name}
    for name in named:
        if name not in known:
            message = f"no prompt has a weight of this name ({nearest(name, known)})"
            raise RequestError(f"$.prompt_weights.{name}", message)


__all__ = ["NOTHING", "Prompt", "PromptWeight", "constant", "parse_prompt", "plain_number", "require_names"]
