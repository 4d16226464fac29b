"""Preprocessors turn a picture into a control map of the kind that a network was trained with.

To add one, write a file with a class and add a line to `lib_ctrlgen.request.catalogue.PREPROCESSORS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lib_ctrlgen.request import catalogue

from .base import Preprocessor
from .detection import detected, own_values, params_of

__all__ = ["Preprocessor", "detected", "own_values", "params_of", "preprocessor", "preprocessors"]


def preprocessors() -> Iterator[Preprocessor]:
    """All preprocessors, in the order of the catalogue."""
    return (each.load()() for each in catalogue.PREPROCESSORS)


def preprocessor(name: str, path: str = "") -> Preprocessor:
    """The preprocessor of this name. Raises RequestError at `path`, with the nearest names."""
    found: Preprocessor = catalogue.entry(name, catalogue.PREPROCESSORS, "preprocessor", path).load()()
    return found
