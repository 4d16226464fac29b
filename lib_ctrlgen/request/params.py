"""Parameters that a control or a preprocessor declares.

One declaration drives the sliders of the panel, the bounds of the API and the axes of the tuner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

from lib_ctrlgen.errors import RequestError, nearest

Value: TypeAlias = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class Param:
    """One named parameter with its default and bounds (inclusive; None: unbounded).

    `off` is one more allowed number outside of the bounds, such as 0 for "automatic". A value of the kind
    `image` or `embedding` is a text: a picture, or embeddings of faces, as in a unit's `image` or in a
    reference's `embedding`. `info` is a sentence below the label in the panel. `advanced` parameters are
    rarely changed: the panel shows them in its accordion "More of this control".
    """

    name: str
    label: str
    kind: Literal["float", "int", "choice", "bool", "text", "image", "embedding"]
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    off: float | None = None
    info: str = ""
    advanced: bool = False

    @property
    def uploaded(self) -> bool:
        """Whether the panel has an upload field for it."""
        return self.kind in {"image", "embedding"}

    def check(self, value: Value, path: str) -> Value:
        """Return `value` in this parameter's type. Raises RequestError at `path`."""
        if self.kind in {"float", "int"}:
            return self._number(value, path)
        expected = bool if self.kind == "bool" else str
        if not isinstance(value, expected):
            raise RequestError(path, f"expected {_TYPES[self.kind]}, got {value!r}")
        if self.kind == "choice" and value not in self.choices:
            raise RequestError(path, f"unknown choice {value!r}; choices: {', '.join(self.choices)}")
        return value

    def _number(self, value: Value, path: str) -> float | int:
        if isinstance(value, (bool, str)) or not isfinite(value):
            raise RequestError(path, f"expected {_TYPES[self.kind]}, got {value!r}")
        if self.kind == "int" and value != int(value):
            raise RequestError(path, f"expected a whole number, got {value}")
        low, high = self.minimum, self.maximum
        outside = (low is not None and value < low) or (high is not None and value > high)
        if outside and value != self.off:
            bounds = f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
            bounds += "" if self.off is None else f", or {self.off:g}"
            raise RequestError(path, f"{value} is out of range: {self.label} is {bounds}")
        return int(value) if self.kind == "int" else float(value)


_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "choice": "a text",
    "bool": "true or false",
    "text": "a text",
    "image": "a text",
    "embedding": "a text",
}


def check_params(given: Mapping[str, Value], known: Sequence[Param], path: str) -> dict[str, Value]:
    """Return the value of every known parameter: the given one, checked, or its default.

    `path` is the JSON path of the mapping. Raises RequestError for an unknown name
    (with the nearest known ones), a wrong type, or a value out of range.
    """
    by_name = {param.name: param for param in known}
    for name in given:
        if name not in by_name:
            raise RequestError(f"{path}.{name}", f"unknown parameter; {nearest(name, by_name)}")
    values = {param.name: param.default for param in known}
    values |= {name: by_name[name].check(value, f"{path}.{name}") for name, value in given.items()}
    return values
