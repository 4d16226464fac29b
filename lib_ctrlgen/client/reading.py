"""Reads the JSON of an answer into its type."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from .errors import NotAWebUIError

AnyAnswer = TypeVar("AnyAnswer")


def read_answer(url: str, content: Any, kind: type[AnyAnswer]) -> AnyAnswer:
    """An answer in its type. Raises NotAWebUIError for one that has another form."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        message = f"the answer has another form ({error}): is this the same version of CtrlGen?"
        raise NotAWebUIError(url, message) from error


def read_list(url: str, content: Any, kind: type[AnyAnswer]) -> tuple[AnyAnswer, ...]:
    """The answers in a list. Raises NotAWebUIError for one that has another form."""
    if not isinstance(content, list):
        raise NotAWebUIError(url, "the answer is no list: is this the same version of CtrlGen?")
    return tuple(read_answer(url, each, kind) for each in content)
