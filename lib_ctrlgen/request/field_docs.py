"""Reads the descriptions of fields from the docstrings of a request's classes, for the JSON Schema.

A docstring contains a table: a field's name, two or more spaces, and its description, which may continue on
indented lines.

>>> class Point:
...     '''A place.
...
...     x, y   in pixels,
...            from the top left
...     '''
>>> field_docs(Point)
{'x': 'in pixels, from the top left', 'y': 'in pixels, from the top left'}
>>> summary(Point)
'A place.'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, get_args, get_type_hints

from msgspec import Struct

ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*) {2,}(?P<text>\S.*)")


def summary(kind: type) -> str:
    """The first paragraph of a class's own docstring, in one line."""
    return " ".join(cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


def field_docs(kind: type) -> dict[str, str]:
    """The description of each field in the docstrings of a class and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found |= _table(cleandoc(base.__doc__ or ""))
    return found


def _table(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if entry := ENTRY.fullmatch(line):
            names = entry["names"].split(", ")
            found |= dict.fromkeys(names, entry["text"])
        elif names and line.startswith("  "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return found


def described(schema: dict[str, Any], kind: type[Struct]) -> dict[str, Any]:
    """Add the classes' summaries and the fields' descriptions to a JSON Schema that msgspec made."""
    definitions = schema["$defs"]
    for part in parts_of(kind):
        definition = definitions[part.__name__]
        texts, fields = field_docs(part), definition["properties"]
        with_texts = {
            name: {**field, "description": texts[name]} for name, field in fields.items() if name in texts
        }
        definitions[part.__name__] = {
            **definition,
            "description": summary(part),
            "properties": {**fields, **with_texts},
        }
    return schema


def parts_of(kind: type[Struct]) -> list[type[Struct]]:
    """A request's type and those of all its parts."""
    found = [kind]
    for part in found:  # the list grows during the loop
        hints = get_type_hints(part).values()
        found += [each for each in dict.fromkeys(s for h in hints for s in _structs(h)) if each not in found]
    return found


def _structs(annotation: Any) -> Iterator[type[Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
    for part in get_args(annotation):
        yield from _structs(part)
