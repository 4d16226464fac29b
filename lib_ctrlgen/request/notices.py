"""Warnings: what a request says and what will hardly do what its author wants, though it can be done.

They are collected while a request is loaded and run, and reach the infotext, the page and the command
line. What is certain to be a mistake is a `RequestError` instead (decision 0021).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KEY = "CtrlGen warnings"  # in an infotext
JOINT = " | "


@dataclass(frozen=True)
class Notice:
    """A warning at the JSON path of its place; for one picture of a batch, or (None) for all of them."""

    path: str
    message: str
    picture: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def warnings_in(said: object, pictures: Sequence[int]) -> tuple[str, ...]:
    """The warnings of some pictures, as a host records them: one joined text for all, or a list of them.

    >>> warnings_in(["a | b", None, "b | c"], [0, 2])
    ('a', 'b', 'c')
    """
    texts = [said] if isinstance(said, str) else [said[k] for k in pictures] if isinstance(said, list) else []
    return tuple(dict.fromkeys(each for text in texts if text for each in text.split(JOINT)))


class Notices:
    """The warnings of one generation, each once, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[Notice, None] = {}

    def add(self, path: str, message: str, picture: int | None = None) -> None:
        """Add a warning."""
        self._found[Notice(path, message, picture)] = None

    def extend(self, notices: Iterable[Notice]) -> None:
        """Add several."""
        self._found |= dict.fromkeys(notices)

    def of(self, picture: int | None = None) -> tuple[str, ...]:
        """The texts for one picture of the batch, with those for all; every text where none is named."""
        own = (notice for notice in self._found if picture is None or notice.picture in (None, picture))
        return tuple(dict.fromkeys(map(str, own)))
