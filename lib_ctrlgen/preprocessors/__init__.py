"""Preprocessors: from a picture to the control map that a network was trained with.

To add one: a file with a class, and a line in `lib_ctrlgen.request.catalogue.PREPROCESSORS`.
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
    """The preprocessor of that name. Raises RequestError at `path` that lists the nearest names."""
    found: Preprocessor = catalogue.entry(name, catalogue.PREPROCESSORS, "preprocessor", path).load()()
    return found
