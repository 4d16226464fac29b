"""Finds the type that a request declares at a path, for error messages and for values given as text.

>>> from lib_ctrlgen.request.spec import GenerationRequest
>>> [takes_text_only(type_at(GenerationRequest, path.split("."))) for path in ("prompt", "steps")]
[True, False]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct


def type_at(kind: Any, path: Sequence[str]) -> Any:
    """The annotation at names and numbers such as `units`, `0`, `weight`; None where there is none."""
    current = kind
    for name in path:
        inner = [found for part in alternatives(current) if (found := _inside(part, name)) is not None]
        current = inner[0] if inner else None
    return current


def _inside(part: Any, name: str) -> Any:
    """The type of a struct's field, of a list's item, or of a mapping's value."""
    origin = get_origin(part)
    if is_struct(part):
        return get_type_hints(part).get(name)
    if origin in (tuple, list) and name.isdecimal():
        return get_args(part)[0]
    return get_args(part)[1] if origin is dict else None


def is_struct(part: Any) -> bool:
    """Whether an annotation is a Struct, that is, a part of a request."""
    return isinstance(part, type) and get_origin(part) is None and issubclass(part, Struct)


def alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union without their `Annotated` bounds; of another annotation that one alone."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from alternatives(part)
    else:
        yield annotation


def takes_text_only(annotation: Any) -> bool:
    """Whether an annotation accepts strings and nothing else."""
    return annotation is not None and all(map(_is_text, alternatives(annotation)))


def takes_text(annotation: Any) -> bool:
    """Whether an annotation accepts strings."""
    return any(map(_is_text, alternatives(annotation)))


def takes_nothing(annotation: Any) -> bool:
    """Whether an annotation accepts `null`."""
    return NoneType in alternatives(annotation)


def _is_text(part: Any) -> bool:
    texts = get_origin(part) is Literal and all(isinstance(value, str) for value in get_args(part))
    return part is str or texts
