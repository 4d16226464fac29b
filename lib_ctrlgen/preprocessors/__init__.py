"""Preprocessors turn a picture into a control map of the kind that a network was trained with.

To add one, write a file with a class and add a line to `lib_ctrlgen.request.catalogue.PREPROCESSORS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lib_ctrlgen.request import catalogue

from .base import PoseDetector, Preprocessor
from .chain import PreprocessorChain, chain_of, preprocessor
from .detection import Detection, detected, params_of

__all__ = [
    "Detection",
    "PoseDetector",
    "Preprocessor",
    "PreprocessorChain",
    "chain_of",
    "detected",
    "params_of",
    "preprocessor",
    "preprocessors",
]


def preprocessors() -> Iterator[Preprocessor]:
    """All preprocessors, in the order of the catalogue."""
    return (each.load()() for each in catalogue.PREPROCESSORS)
