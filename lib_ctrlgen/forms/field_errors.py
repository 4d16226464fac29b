"""Errors and warnings as a panel shows them: at a field, with the field's label instead of its JSON path.

>>> mark_of("$.units[0].guidance_start", "must not be after guidance_end").sentence
"Unit 0, Start: must not be after 'End'."
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit, parse_request

from .field_places import UNIT, UNIT_LABELS, WHOLE_LABELS, PanelValues, place_of
from .tuner_places import OWN_LABELS
from .unit_fields import at_index, split_values, unit_payload, whole_settings

# Advice in messages that is for the API alone.
FOR_API = re.compile(r"\s*\((?:in the API|enabled: false)[^)]*\)")
# Names of fields in messages: JSON paths, names in quotes, and names with an underscore.
PATH = re.compile(r"\$(?:\.\w+|\[\d+\])+")
NAMES = re.compile(rf"(?P<path>{PATH.pattern})|'(?P<quoted>\w+)'|\b(?P<bare>[a-z]+(?:_[a-z]+)+)\b")
SCHEDULE = "of the schedule"
EXAMPLE = "; for example 0.8, or 1@0, 1@0.3, 0@0.6"
TOO_FEW = "expected `array` of length"
# What the page says of lists that have too few entries.
FEW = {
    "$.blend.concepts": "a blend needs two concepts or more: switch on 'Use' at each of them",
    "$.tune.auto.ranges": "choose what varies",
}

Check = Callable[[ControlUnit, str], None]  # raises RequestError below a unit's path


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An error or a warning at a place of the page.

    elements  ids of elements, see `Place`
    label     of the place; empty for one that the panel does not show
    unit      the unit's index, or None
    warning   whether pictures are made all the same
    """

    elements: tuple[str, ...]
    label: str
    text: str
    unit: int | None = None
    warning: bool = False

    @property
    def sentence(self) -> str:
        """The message with the label of its place."""
        return f"{self.label}: {self.text}" if self.label else self.text

    def payload(self) -> dict[str, Any]:
        """The mark for javascript/ctrlgen_errors.js."""
        return {
            "elements": list(self.elements),
            "sentence": self.sentence,
            "text": _capitalised(self.text),
            "unit": self.unit,
            "warning": self.warning,
        }


def mark_of(path: str, message: str, values: PanelValues | None = None, *, warning: bool = False) -> Mark:
    """The mark of a message at a JSON path; `values` are those of the panel, as far as they are known."""
    place = place_of(path, values)
    text = _worded(path, message, values)
    if not place.label and path not in {"", "$"}:
        text = f"{path}: {text}"  # a place of the API's request that the panel does not have
    return Mark(elements=place.elements, label=place.label, text=text, unit=place.unit, warning=warning)


def mark_of_error(error: Exception, values: PanelValues | None = None) -> Mark:
    """The mark of an error; one without a path is for the whole panel."""
    if isinstance(error, RequestError):
        return mark_of(error.path, error.message, values)
    return mark_of("$", str(error), values)


def with_labels(text: str) -> str:
    """A sentence with the labels of the panel's fields in the place of JSON paths.

    >>> with_labels("$.units[0].image: the picture 0f3a is missing")
    'Unit 0, Picture: the picture 0f3a is missing'
    """
    return PATH.sub(lambda found: place_of(found[0]).label or found[0], text)


def within(error: RequestError, path: str) -> RequestError:
    """An error in the content of a field, at that field's path: the message says where in the content.

    >>> within(RequestError("$.units[0].image", "is no picture"), "$.recipe.gallery").message
    'Unit 0, Picture: is no picture'
    """
    place = f"{with_labels(error.path)}: " if error.path else ""
    return RequestError(path, f"{place}{error.message}")


def marks_json(marks: Iterable[Mark]) -> str:
    """Several marks as a JSON list."""
    return json.dumps([mark.payload() for mark in marks], ensure_ascii=False)


def other_errors(panel: Sequence[Any], first: CtrlGenError, check: Check) -> tuple[RequestError, ...]:
    """The errors in other parts of the panel than that of the `first` error, one for each part.

    Each enabled unit, and the settings for the whole generation, are read for themselves. `check` looks at
    a unit that can be read.
    """
    start = place_of(first.path).unit if isinstance(first, RequestError) else None
    found = [error for index, error in _unit_errors(panel, check) if index != start]
    if start is not None:
        found += _whole_errors(panel)
    return tuple(found)


def in_order(errors: Iterable[CtrlGenError]) -> list[CtrlGenError]:
    """The errors in the order of the units, those outside of the units first."""

    def unit(error: CtrlGenError) -> int:
        index = place_of(error.path).unit if isinstance(error, RequestError) else None
        return -1 if index is None else index

    return sorted(errors, key=unit)


def _capitalised(text: str) -> str:
    """A text that begins with a capital letter, unless it begins with the name of a file."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def _unit_errors(panel: Sequence[Any], check: Check) -> Iterator[tuple[int, RequestError]]:
    for index, values in enumerate(split_values(panel)):
        path = f"$.units[{index}]"
        try:
            if values["enabled"]:
                request: ControlRequest = parse_request(at_index(unit_payload(values, path), index))
                check(request.units[index], path)
        except RequestError as error:
            yield index, error


def _whole_errors(panel: Sequence[Any]) -> Iterator[RequestError]:
    try:
        parse_request(whole_settings(panel))
    except RequestError as error:
        yield error


def _worded(path: str, message: str, values: PanelValues | None) -> str:
    """A message with the labels of fields instead of their names, and with an example of a schedule."""
    message = FEW.get(path, message) if TOO_FEW in message else message
    message = message + EXAMPLE if SCHEDULE in message else message
    own = OWN_LABELS if path.startswith("$.tune") else {}
    text = NAMES.sub(lambda found: _label(found, values, own), FOR_API.sub("", message)).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _label(found: re.Match[str], values: PanelValues | None, own: Mapping[str, str]) -> str:
    if found["path"]:
        return place_of(found["path"], values).label or found["path"]
    name = found["quoted"] or found["bare"]
    known = UNIT.get(name, (name,))[-1]
    label = own.get(name) or UNIT_LABELS.get(known) or WHOLE_LABELS.get(known)
    return f"'{label}'" if label else found[0]
