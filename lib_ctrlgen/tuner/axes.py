"""Axes of the tuner: fields of a request, and the values that they take.

    units.0.weight: 0.2, 0.4, 1@0 hold      a list; quote a value with a comma, or write one value per line
    units.0.enabled: true, false            switches
    units.0.guidance_end: 0.25-1 [4]        four values, evenly spaced
    units.1.weight: 0.5-1.5 (+0.25)         in steps
    units.0.model+units.0.preprocessor: edges+canny, lines+none   paths that change together
    prompt.replace: red, blue, green        the unchanged prompt, then with "red" replaced by each other value
    prompt.glow: 0.5-1.5 [3]                the weight with this name in the prompt
    prompt.lora:style: 0-1 [5]              the weight of <lora:style:1> in the prompt

A friendly label may replace a path: "Weight of unit 0", "Unit 0 weight", "CFG", "Steps", "Sampler", "Seed",
"Checkpoint".

>>> axis = parse_axis("Unit 0 weight", "0.2, 0.6-1 [3]")
>>> axis.paths, axis.shown
(('units.0.weight',), ('0.2', '0.6', '0.8', '1'))
>>> applied({"units": [{"model": "a"}]}, axis, 1)
{'units': [{'model': 'a', 'weight': 0.6}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.batching import LORA

from .values import MAX_VALUES, Value, read_values, require_whole_schedules, shown_value, single_value

Payload: TypeAlias = dict[str, Any]

FRIENDLY = re.compile(r"unit\s+(\d+)\s+([\w ]+)", re.IGNORECASE)
OF = re.compile(r"([\w ]+?)\s+of\s+(unit|concept)\s+(\d+)", re.IGNORECASE)
CONCEPT = re.compile(r"concept\s+(\d+)\s+([\w ]+)", re.IGNORECASE)

LABELS: Mapping[str, str] = {
    "cfg": "cfg_scale",
    "cfg scale": "cfg_scale",
    "guidance": "cfg_scale",
    "checkpoint": "model",
    "start": "guidance_start",
    "end": "guidance_end",
    "negative prompt": "negative_prompt",
    "denoising": "denoising_strength",
    "schedule type": "scheduler",
    "text in the prompt": "prompt.replace",
}
OLD_NAMES: Mapping[str, str] = {"strength": "weight"}  # of a unit's fields, in axes of earlier versions
REPLACE = "prompt.replace"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One or more paths in a request that change together; `values[i]` has one value per path."""

    label: str
    paths: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The values as texts, for sheets and reports."""
        return tuple(" + ".join(map(shown_value, row)) for row in self.values)

    def named(self, index: int) -> str:
        """The value of this index with the axis' label; for several paths, each value with its own label.

        >>> parse_axis("Unit 0 model+CFG", "edges+4").named(0)
        'Unit 0 model = edges, CFG = 4'
        """
        labels = [part.strip() for part in self.label.split("+")]
        if len(labels) != len(self.paths):
            return f"{self.label} = {self.shown[index]}"
        pairs = zip(labels, self.values[index], strict=True)
        return ", ".join(f"{label} = {shown_value(value)}" for label, value in pairs)

    def __len__(self) -> int:
        return len(self.values)


def parse_axis(place: str, values: str | Sequence[Value | Sequence[Value]]) -> Axis:
    """An axis from a path or a friendly label, and a text or a list of values.

    Raises RequestError at `path` or `values` for a text that cannot be read.
    """
    paths = tuple(path_of(part.strip()) for part in place.split("+"))
    if not all(paths):
        raise RequestError("path", f"{place!r} is not a field of a request")
    texts = paths == (REPLACE,)
    items = read_values(values, texts=texts) if isinstance(values, str) else list(values)
    if not texts:
        require_whole_schedules(items)
    rows = tuple(_row(item, len(paths)) for item in items)
    if not rows:
        raise RequestError("values", "give at least one value, such as 0.2, 0.4 or 0-1 [5]")
    if len(rows) > MAX_VALUES:
        raise RequestError("values", f"{len(rows)} values are more than {MAX_VALUES}")
    kinds = [tuple((isinstance(value, bool), value) for value in row) for row in rows]
    if len(set(kinds)) < len(rows):
        twice = next(row for row, kind in zip(rows, kinds, strict=True) if kinds.count(kind) > 1)
        raise RequestError("values", f"{' + '.join(map(shown_value, twice))} occurs twice")
    return Axis(label=place.strip(), paths=paths, values=rows)


def path_of(place: str) -> str:
    """The path of a friendly label; a path is returned unchanged.

    >>> path_of("Unit 1 guidance end"), path_of("CFG"), path_of("units.0.params.low_threshold")
    ('units.1.guidance_end', 'cfg_scale', 'units.0.params.low_threshold')
    >>> path_of("Weight of unit 1"), path_of("Weight of concept 0"), path_of("Text in the prompt")
    ('units.1.weight', 'blend.concepts.0.weight', 'prompt.replace')
    """
    if place.startswith(f"prompt.{LORA}"):
        return place
    if found := OF.fullmatch(place):
        place = f"{found[2]} {found[3]} {found[1]}"
    for pattern, root in ((FRIENDLY, "units"), (CONCEPT, "blend.concepts")):
        found = pattern.fullmatch(place)
        if found:
            name = " ".join(found[2].lower().split())
            return f"{root}.{int(found[1])}.{OLD_NAMES.get(name) or _field(name)}"
    return _field(place) if " " in place or place.lower() in LABELS or place.istitle() else place


def _field(name: str) -> str:
    plain = " ".join(name.lower().split())
    return LABELS.get(plain, plain.replace(" ", "_"))


def _row(item: Value | Sequence[Value], count: int) -> tuple[Value, ...]:
    """One value for each of `count` paths."""
    if count == 1 and isinstance(item, (bool, int, float, str)):
        return (item,)
    parts = [single_value(part) for part in item.split("+")] if isinstance(item, str) else item
    if not isinstance(parts, (list, tuple)) or len(parts) != count:
        one = "one value" if count == 1 else f"{count} values joined by +, one per path"
        raise RequestError("values", f"{item!r} must hold {one}")
    return tuple(parts)


def applied(payload: Mapping[str, Any], axis: Axis, index: int) -> Payload:
    """A copy of a request's payload with the axis set to its value number `index`.

    Raises RequestError for a path that does not exist.
    """
    result: Any = dict(payload)
    for path, value in zip(axis.paths, axis.values[index], strict=True):
        if path == REPLACE:
            result = _searched(result, str(axis.values[0][axis.paths.index(path)]), str(value))
        elif path.startswith("prompt."):
            weights = {**(result.get("prompt_weights") or {}), path.removeprefix("prompt."): value}
            result = {**result, "prompt_weights": weights}
        else:
            result = replaced(result, path.split("."), value, path)
    return dict(result)


def _searched(payload: Payload, wanted: str, value: str) -> Payload:
    """A copy with `wanted` replaced by `value` in the prompt, the negative prompt and the concepts."""
    found = {name: str(payload.get(name) or "") for name in ("prompt", "negative_prompt")}
    concepts = (payload.get("blend") or {}).get("concepts") or []
    texts = [*found.values(), *(str(concept.get("prompt") or "") for concept in concepts)]
    if not any(wanted in text for text in texts):
        raise RequestError("values", f"no prompt contains {wanted!r}, the text to replace")
    changed = {name: text.replace(wanted, value) for name, text in found.items() if text}
    if not concepts:
        return {**payload, **changed}
    others = [c | {"prompt": str(c.get("prompt") or "").replace(wanted, value)} for c in concepts]
    return {**payload, **changed, "blend": payload["blend"] | {"concepts": others}}


def replaced(part: Any, path: Sequence[str], value: Any, what: str) -> Any:
    """A copy of JSON-like data with the value at `path` (keys and list indices) replaced.

    `what` is the whole path, for errors. Raises RequestError for a path that does not exist.
    """
    if not path:
        return value
    name, rest = path[0], path[1:]
    if isinstance(part, list):
        if not name.isdecimal() or int(name) >= len(part):
            raise RequestError("", f"{what}: {name!r} is no index of a list of {len(part)}")
        index = int(name)
        return [*part[:index], replaced(part[index], rest, value, what), *part[index + 1 :]]
    if isinstance(part, Mapping):
        return {**part, name: replaced(part.get(name, {}), rest, value, what)}
    raise RequestError("", f"{what}: {part!r} has no fields")
