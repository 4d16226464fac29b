"""`<lora:name:weight>` in prompts: the LoRAs that act on a whole picture, and their weights over the steps.

The WebUI's grammar is `<lora:name:te:unet:dyn>` with `te=`, `unet=` and `dyn=` as names: the weight of the
text encoders (1 if missing), the weight of the U-Net (as the text encoders' if missing) and the number of
ranks used. `lyco` is another word for `lora`. A weight may be a schedule; only there a tag may contain `>`::

    <lora:style:0.8>                 a number
    <lora:style:1>0>                 a ramp
    <lora:style:1@0, 0@0.6>          keyframes
    <lora:style:0.6:1>0 in 0.2..1>   text encoders 0.6, the U-Net by a ramp in a window

>>> found = split_networks("a cat <lora:style:1>0>, <lora:ink:0.5:dyn=4>")
>>> found.text, [(tag.name, str(tag.unet), tag.scheduled) for tag in found.loras]
('a cat , ', [('style', '1@0, 0@1', True), ('ink', '0.5', False)])
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.batching import LORA
from lib_ctrlgen.request.schedule import Schedule, constant, parse_schedule
from lib_ctrlgen.request.schedule_form import Form

from .numbers import plain_number

TAG = re.compile(r"<(\w+):([^>]+)>")  # the WebUI's regular expression for extra networks
LORAS = frozenset({"lora", "lyco"})
NAMED = ("te", "unet", "dyn")
MOST = 120  # characters of a ramp behind its `>`


@dataclass(frozen=True, kw_only=True)
class LoraTag:
    """One `<lora:...>` of a prompt.

    te, unet   the weights in the text encoders and in the U-Net
    dyn        the number of ranks that are used; None: all
    scheduled  whether a weight is more than a number, so that the WebUI cannot read the tag
    text       the tag as it is written
    other      arguments that only other programs know, such as `lbw=...`
    """

    name: str
    te: Schedule
    unet: Schedule
    dyn: int | None = None
    scheduled: bool = False
    text: str = ""
    other: tuple[str, ...] = ()

    def with_weights(self, named: Mapping[str, Schedule]) -> LoraTag:
        """The tag with the weights of `prompt_weights`, whose key is `lora:` and the name."""
        weight = named.get(f"{LORA}{self.name}")
        return self if weight is None else replace(self, te=weight, unet=weight, scheduled=True)

    def without_unet(self) -> str:
        """The tag as the WebUI reads it, with the first weight of the text encoders and 0 for the U-Net."""
        dyn = "" if self.dyn is None else f":{self.dyn}"
        return f"<lora:{self.name}:{plain_number(self.te(0.0))}:0{dyn}>"


@dataclass(frozen=True, kw_only=True)
class NetworkSplit:
    """A prompt taken apart.

    text    the prompt without its tags
    loras   the tags of LoRAs
    others  the other tags as they were written, such as `<hypernet:name:1>`
    """

    text: str
    loras: tuple[LoraTag, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """A tag from `start` to `end`, its word and its arguments."""

    start: int
    end: int
    kind: str
    content: str


def split_networks(text: str) -> NetworkSplit:
    """Take the tags out of a prompt. Raises RequestError for a weight that cannot be read."""
    spans = _spans(text)
    loras = tuple(_tag(text, span) for span in spans if span.kind in LORAS)
    others = tuple(text[span.start : span.end] for span in spans if span.kind not in LORAS)
    return NetworkSplit(text=_without(text, spans), loras=loras, others=others)


def replace_scheduled(
    text: str, named: Mapping[str, Schedule], shown: Callable[[LoraTag], str] = lambda _: ""
) -> tuple[str, tuple[LoraTag, ...]]:
    """A prompt with `shown(tag)` for each LoRA with a schedule or with a weight in `named`, and these LoRAs.

    All other tags stay as they are written, also those that cannot be read. Raises RequestError for a
    schedule that is wrong.
    """
    if "<" not in text:
        return text, ()
    loras = [span for span in _spans(text) if span.kind in LORAS]
    spans = [span for span in loras if _is_ours(span.content, named)]
    if spans:
        require_once([span.content.partition(":")[0] for span in loras])
    tags = tuple(_tag(text, span).with_weights(named) for span in spans)
    return _without(text, spans, list(map(shown, tags))), tags


def require_once(names: Sequence[str]) -> None:
    """Raise RequestError for a LoRA that a prompt names twice."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError("", f"<lora:{twice}:...> occurs twice: write one tag with the sum of the weights")


def require_known(tag: LoraTag) -> None:
    """Raise RequestError for a tag with arguments that only other programs know."""
    if tag.other:
        advice = "the weights are <lora:name:te:unet:dyn>, also as te=, unet= and dyn="
        raise RequestError("", f"in {tag.text}: {tag.other[0]!r} is not supported; {advice}")


def require_lora_names(named: Mapping[str, Schedule], tags: Iterable[LoraTag]) -> None:
    """Raise RequestError for a key `lora:NAME` of `prompt_weights` whose LoRA is in no prompt."""
    known = {tag.name for tag in tags}
    for key in named:
        if key.startswith(LORA) and key.removeprefix(LORA) not in known:
            message = f"no prompt has the tag <lora:{key.removeprefix(LORA)}:1>: write it there"
            raise RequestError(f"$.prompt_weights.{key}", message)


def word_weights(named: Mapping[str, Schedule]) -> dict[str, Schedule]:
    """The entries of `prompt_weights` that are for words, not for LoRAs."""
    return {name: weight for name, weight in named.items() if not name.startswith(LORA)}


def _spans(text: str) -> list[_Span]:
    """Every tag of a text; that of a LoRA may contain the `>` of a ramp."""
    found, place = [], 0
    while match := TAG.search(text, place):
        end = match.end()
        if match[1] in LORAS:
            end = _ramp_end(text, match.start(2), end)
        found.append(_Span(match.start(), end, match[1], text[match.start(2) : end - 1]))
        place = end
    return found


def _ramp_end(text: str, start: int, end: int) -> int:
    """The end of a tag whose arguments begin at `start` and which the WebUI ends at `end`."""
    place = found = end
    limit = min(len(text), end + MOST)
    while (close := text.find(">", place, limit)) >= 0 and "<" not in text[end:close]:
        name, *items = text[start:close].split(":")
        place = close + 1
        if items and ">" not in name and all(map(_is_argument, items)):
            found = place
    return found


def _is_argument(item: str) -> bool:
    """Whether an argument is a schedule or a number (also as `te=`), or a `name=value` of another program."""
    name, equals, rest = item.partition("=")
    if equals and name.strip().isidentifier() and name.strip() not in NAMED:
        return ">" not in rest
    return Form.of(rest if equals and name.strip() in NAMED else item).whole


def _weights(content: str) -> list[str]:
    """The arguments that are weights of the text encoders and of the U-Net, as texts."""
    items = content.split(":")[1:]
    positional = [item for item in items if "=" not in item]
    named = [item.partition("=")[2] for item in items if item.partition("=")[0].strip() in NAMED[:2]]
    return [*positional[:2], *named]


def _is_ours(content: str, named: Mapping[str, Schedule]) -> bool:
    """Whether a tag needs CtrlGen: a weight is a schedule, or nearly one, or `named` sets it."""
    forms = [Form.of(text) for text in _weights(content)]
    own = f"{LORA}{content.partition(':')[0]}" in named
    return own or any(form.scheduled or form.missed for form in forms)


def _tag(text: str, span: _Span) -> LoraTag:
    items = span.content.split(":")
    positional = [item for item in items[1:] if "=" not in item]
    named = {item.partition("=")[0].strip(): item.partition("=")[2] for item in items[1:] if "=" in item}
    written = text[span.start : span.end]
    te = _weight(named.get("te", positional[0] if positional else "1"), written)
    unet_text = named.get("unet", positional[1] if len(positional) > 1 else None)
    unet = te if unet_text is None else _weight(unet_text, written)
    dyn_text = named.get("dyn", positional[2] if len(positional) > 2 else None)
    other = [item for item in items[1:] if "=" in item and item.partition("=")[0].strip() not in NAMED]
    return LoraTag(
        name=items[0],
        te=te,
        unet=unet,
        dyn=None if dyn_text is None else _ranks(dyn_text, written),
        scheduled=any(Form.of(each).scheduled for each in _weights(span.content)),
        text=written,
        other=(*other, *positional[3:]),
    )


def _weight(text: str, written: str) -> Schedule:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return constant(number)
    try:
        return parse_schedule(text.strip())
    except RequestError as error:
        raise RequestError("", f"in {written}: {error.message}") from error


def _ranks(text: str, written: str) -> int:
    if text.strip().isdecimal() and int(text) > 0:
        return int(text)
    raise RequestError("", f"in {written}: dyn is the number of ranks to use, at least 1, not {text!r}")


def _without(text: str, spans: Sequence[_Span], instead: Sequence[str] = ()) -> str:
    """The text without some parts, or with other texts in their places."""
    kept, done = [], 0
    for span, other in zip(spans, instead or [""] * len(spans), strict=True):
        kept += [text[done : span.start], other]
        done = span.end
    return "".join([*kept, text[done:]])
