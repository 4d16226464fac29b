r"""Scheduled and named weights inside prompts, on top of the WebUI's attention syntax.

A text is a schedule only where the WebUI itself would read a weight: at the end of an attention bracket
`(...)`, and at the end of an `AND` part if the prompt has several. The whole text must follow the grammar of
schedules and contain a keyframe `value@progress`, a ramp `a>b`, a window `in a..b` or a name `word=number`::

    (neon sign:1.4@0, 1@0.5, 0.6@1)    a weight over the steps, see `schedule`
    (fog:0.2>1.3)                      a ramp
    (neon sign:glow=1.2)               a weight with a name, for tuning
    a cat AND oil painting :0.2@0, 1@0.6

Text in a bracket that contains a keyframe or a ramp of numbers, but is no valid schedule, is an error.
All other text is passed on to the host unchanged: `(x:1.2)`, `ratio 16:9`, `:3`, `[a:b:0.4]`,
`<lora:name:0.8>`, `3 > 2`. At each progress the result is an ordinary prompt, which the host reads itself.

>>> prompt = parse_prompt("a (neon sign:1.4>1) at (night:1.1)")
>>> prompt.at(0.5)
'a (neon sign:1.2) at (night:1.1)'
>>> parse_prompt("a (sign:glow=1.2)").at(0, {"glow": constant(0.5)})
'a (sign:0.5)'
>>> parse_prompt("math lesson: 3 > 2").weights
()
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError, nearest
from lib_ctrlgen.request.schedule import Schedule, constant, parse_schedule
from lib_ctrlgen.request.schedule_form import Form

from .numbers import plain_number

NOTHING: Mapping[str, Schedule] = MappingProxyType({})

# A prompt contains a schedule only if it has a colon and, somewhere after it, such a sign and a number.
HINT = re.compile(r"(?:[@>=]|\.\.)\s*[+-]?\.?\d")
# An escaped character, an extra network, an emoticon such as `:(` (its bracket is not closed), the signs.
PIECE = re.compile(r"\\.|<\w+:[^>]+>|(?<![^\s,(\[{|])>?[:;=][-'^]?\(|\bAND\b|[():]", re.DOTALL)
NAME = re.compile(r"[A-Za-z_]\w*")
HIDDEN = "\0"  # replaces a nested bracket, an escaped letter or an extra network, which no schedule contains

Named: TypeAlias = Mapping[str, Schedule]


@dataclass(frozen=True, kw_only=True)
class PromptWeight:
    """A scheduled or named weight; `label` is the text that it belongs to."""

    schedule: Schedule
    label: str
    name: str | None = None

    def at(self, progress: float, named: Named) -> str:
        """The weight as the WebUI writes it; `named` values replace those of their names."""
        schedule = named.get(self.name, self.schedule) if self.name else self.schedule
        return plain_number(schedule(progress))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as pieces of plain text and the scheduled or named weights between them."""

    parts: tuple[str | PromptWeight, ...]

    @property
    def weights(self) -> tuple[PromptWeight, ...]:
        """The weights that are schedules or have a name, from left to right."""
        return tuple(part for part in self.parts if isinstance(part, PromptWeight))

    def at(self, progress: float, named: Named = NOTHING) -> str:
        """The ordinary prompt at `progress` in [0, 1]."""
        return "".join(part if isinstance(part, str) else part.at(progress, named) for part in self.parts)


def parse_prompt(text: str, *, negative: bool = False) -> Prompt:
    """Find the scheduled and the named weights of a prompt; in a `negative` one `AND` is an ordinary word.

    Raises RequestError for an invalid schedule in a bracket, a value out of range, or a scheduled weight
    whose bracket is not closed; the error shows the place.
    """
    colon = text.find(":")
    if colon < 0 or not HINT.search(text, colon):
        return Prompt(parts=(text,) if text else ())
    parts: list[str | PromptWeight] = []
    done = 0
    for span in sorted(_Reader(text, negative=negative).spans(), key=lambda span: span.start):
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
class _Level:
    """An open bracket, or the AND part around all brackets.

    inside  the index where its text begins
    face    whether it was opened by an emoticon such as `:(`
    colon   the index of its last colon
    behind  the text after that colon, in which a nested bracket is replaced by one placeholder
    """

    inside: int
    bracket: bool = True
    face: bool = False
    colon: int | None = None
    behind: list[str] = field(default_factory=list)

    def holds_schedule(self, *, near: bool) -> bool:
        """Whether a schedule or a named weight follows the colon; with `near`, also an invalid schedule."""
        name, text = _named("".join(self.behind))
        form = Form.of(text)
        return form.scheduled or (name is not None and form.whole) or (near and form.missed)


class _Reader:
    """Walks over a prompt's round brackets, colons and ANDs to find the places of weights."""

    def __init__(self, text: str, *, negative: bool) -> None:
        self.text = text
        self.pieces = list(PIECE.finditer(text))
        self.split = not negative and any(piece[0] == "AND" for piece in self.pieces)
        self.stack = [_Level(0, bracket=False)]

    def spans(self) -> Iterator[_Span]:
        """The place of every weight that is a schedule or has a name."""
        done = 0
        for piece in self.pieces:
            self.stack[-1].behind.append(self.text[done : piece.start()])
            yield from self.piece(piece[0], piece.end())
            done = piece.end()
        self.stack[-1].behind.append(self.text[done:])
        yield from self.part_end(len(self.text))

    def piece(self, sign: str, end: int) -> Iterator[_Span]:
        """Read one sign, which ends at `end`."""
        level = self.stack[-1]
        if sign == ":":
            level.colon, level.behind = end - 1, []
        elif sign == ")" and level.bracket:
            self.stack.pop()
            yield from self.weight(level, level, end - 1)
        elif sign == "AND" and self.split:
            yield from self.part_end(end - 3)
            self.stack = [_Level(end, bracket=False)]
        elif sign.endswith("(") and sign[0] != "\\":
            level.behind.append(HIDDEN)
            self.stack.append(_Level(end, face=len(sign) > 1))
        else:
            level.behind.append(sign if sign in (")", "AND") else HIDDEN)

    def part_end(self, end: int) -> Iterator[_Span]:
        """Read the end of an AND part or of the prompt, which also closes all open brackets."""
        for level in self.stack[1:]:
            if not level.face and any(self.weight(level, level, end)):
                raise _error(self.text, level.inside - 1, "a scheduled weight whose bracket is not closed")
        if self.split:
            yield from self.weight(self.stack[-1], self.stack[0], end)

    def weight(self, level: _Level, whole: _Level, end: int) -> Iterator[_Span]:
        """The weight of `whole` between a level's last colon and `end`, if it is scheduled or named."""
        if level.colon is None or not level.holds_schedule(near=whole.bracket):
            return
        start = level.colon + 1
        written = self.text[start:end].rstrip()
        name, source = _named(written)
        schedule = _schedule(self.text, start + written.rindex(source), source)
        label = self.text[whole.inside : level.colon].strip()
        weight = PromptWeight(schedule=schedule, label=label, name=name)
        yield _Span(start=start, end=start + len(written), weight=weight)


def _named(text: str) -> tuple[str | None, str]:
    """The name, if there is one, and the text of a weight that is written as `name=text`."""
    name, equals, rest = text.partition("=")
    if equals and NAME.fullmatch(name.strip()):
        return name.strip(), rest.strip()
    return None, text.strip()


def _schedule(text: str, start: int, source: str) -> Schedule:
    try:
        return parse_schedule(source)
    except RequestError as error:
        raise _error(text, start, error.message) from error


def _error(text: str, place: int, message: str) -> RequestError:
    before, after = text[max(0, place - 24) : place], text[place : place + 24]
    return RequestError(
        "",
        f"{message} (in the prompt at character {place + 1}: ...{before}>>>{after}...); if no schedule is "
        r"meant, write the colon as \:",
    )


def require_names(named: Named, weights: Iterable[PromptWeight]) -> None:
    """Raise RequestError for a name in `named` that no weight of the prompts has."""
    known = {weight.name for weight in weights if weight.name}
    for name in named:
        if name not in known:
            message = f"no prompt has a weight of this name ({nearest(name, known)})"
            raise RequestError(f"$.prompt_weights.{name}", message)


__all__ = ["NOTHING", "Prompt", "PromptWeight", "constant", "parse_prompt", "require_names"]
