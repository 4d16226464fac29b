"""Reads the JSON of an answer into its type."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from lib_ctrlgen.request.answers import Answer

from .errors import NotAWebUIError

AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


def read_answer(url: str, content: Any, kind: type[AnyAnswer]) -> AnyAnswer:
    """An answer in its type. Raises NotAWebUIError for one that has another form."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        message = f"the answer has another form ({error}): is this the same version of CtrlGen?"
        raise NotAWebUIError(url, message) from error
