"""Warnings about requests that can be carried out, but probably not as their author wants.

They are collected while a request is loaded and run, and shown in the infotext, on the page and on the
command line. A certain mistake is a `RequestError` instead (decision 0021).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

KEY = "CtrlGen warnings"  # the key in an infotext
JOINT = " | "


@dataclass(frozen=True)
class Notice:
    """A warning with the JSON path that it is about, for one picture of a batch or (None) for all."""

    path: str
    message: str
    picture: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def warnings_in(recorded: object, pictures: Sequence[int]) -> tuple[str, ...]:
    """The warnings of some pictures, from a text for all pictures or a list with a text for each picture.

    >>> warnings_in(["a | b", None, "b | c"], [0, 2])
    ('a', 'b', 'c')
    """
    texts: list[str | None] = [recorded] if isinstance(recorded, str) else []
    if isinstance(recorded, list):
        texts = [recorded[number] for number in pictures]
    return tuple(dict.fromkeys(each for text in texts if text for each in text.split(JOINT)))


class Notices:
    """The warnings of one generation, each once, in the order in which they were added."""

    def __init__(self) -> None:
        self._found: dict[Notice, None] = {}

    def add(self, path: str, message: str, picture: int | None = None) -> None:
        """Add a warning at a JSON path, for one picture of the batch or for all."""
        self._found[Notice(path, message, picture)] = None

    def extend(self, notices: Iterable[Notice]) -> None:
        """Add several warnings."""
        self._found |= dict.fromkeys(notices)

    def __iter__(self) -> Iterator[Notice]:
        """Each warning with its path."""
        return iter(self._found)

    def of(self, picture: int | None = None) -> tuple[str, ...]:
        """The warnings of one picture of the batch, with those for all pictures; without a number, all."""
        own = (notice for notice in self._found if picture is None or notice.picture in (None, picture))
        return tuple(dict.fromkeys(map(str, own)))
