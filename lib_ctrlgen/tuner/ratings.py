"""Stars, favourites and blind votes of a run's cells, in `ratings.json` beside its pictures.

A cell is named by the key in its picture's file name, so ratings stay valid when a run is continued or
extended. Two files can be merged in any order: of two entries of the same name, the newer one counts. So a
file that a browser saved may be put into the folder as `ratings-NAME.json`; it is read with the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from msgspec import Meta, field
from msgspec.json import encode

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.spec import parse_json, parse_request, to_payload

NAME = "ratings.json"
PATTERN = "ratings*.json"
MOST = 100_000  # entries of one kind
LARGEST = 64 << 20  # bytes of a file

KEY = re.compile(r"[0-9a-f]{16}")
VOTE = re.compile(r"[0-9A-Za-z-]{1,64}")

Key: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Time: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 53)]


class CellRating(Spec, frozen=True, kw_only=True):
    """The rating of one cell.

    stars      1 to 5; 0 without a rating
    favourite  whether it is marked as a favourite
    at         when it was given, in milliseconds since 1970
    """

    stars: Annotated[int, Meta(ge=0, le=5)] = 0
    favourite: bool = False
    at: Time = 0


class Vote(Spec, frozen=True, kw_only=True):
    """A blind vote.

    shown  the keys of the cells that were shown together
    order  the keys of those that were picked, the best one first; the others are worse, in no order. An empty
           list is a vote that was taken back
    at     when it was given, in milliseconds since 1970
    """

    shown: Annotated[tuple[Key, ...], Meta(min_length=2, max_length=8)]
    order: Annotated[tuple[Key, ...], Meta(max_length=8)] = ()
    at: Time = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.shown)) < len(self.shown):
            raise RequestError("shown", "a cell occurs twice")
        if len(set(self.order)) < len(self.order) or not set(self.order) <= set(self.shown):
            raise RequestError("order", "must be different cells of `shown`")


class Ratings(Spec, frozen=True, kw_only=True):
    """The ratings of a run: cells by their keys, votes by random names."""

    cells: Annotated[dict[str, CellRating], Meta(max_length=MOST)] = field(default_factory=dict)
    votes: Annotated[dict[str, Vote], Meta(max_length=MOST)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, pattern, entries in (("cells", KEY, self.cells), ("votes", VOTE, self.votes)):
            for key in entries:
                if not pattern.fullmatch(key):
                    raise RequestError(name, f"{key[:80]!r} is no name of one of the {name}")

    def __bool__(self) -> bool:
        return bool(self.cells or self.votes)

    @property
    def as_json(self) -> dict[str, Any]:
        """The ratings as JSON types, sorted by name."""
        return {
            "cells": {key: to_payload(each) for key, each in sorted(self.cells.items())},
            "votes": {key: to_payload(each) for key, each in sorted(self.votes.items())},
        }


def read_body(payload: object) -> Ratings:
    """The ratings in a request's body. Raises RequestError."""
    return parse_request(payload, Ratings)


Entry = TypeVar("Entry", CellRating, Vote)


def merged(one: Ratings, other: Ratings) -> Ratings:
    """Both ratings; of two entries of the same name the newer one, whatever the order of the arguments."""
    return Ratings(cells=_newest(one.cells, other.cells), votes=_newest(one.votes, other.votes))


def _newest(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> dict[str, Entry]:
    found = dict(one)
    for name, entry in other.items():
        known = found.get(name)
        if known is None or (known.at, encode(known)) < (entry.at, encode(entry)):
            found[name] = entry
    return found


@dataclass(frozen=True)
class RatingsFile:
    """The ratings of a tuner's folder."""

    folder: Path

    def read(self) -> Ratings:
        """All ratings files of the folder, merged. Raises HostError for one that cannot be read."""
        found = Ratings()
        for path in sorted(self.folder.glob(PATTERN)):
            found = merged(found, _ratings_in(path))
        return found

    def add(self, more: Ratings) -> Ratings:
        """Merge ratings into the file, and return all. The caller takes care that no two calls overlap.

        The file is replaced at once, so a killed process loses nothing that was added before. Raises
        HostError.
        """
        found = merged(self.read(), more)
        save_text(json.dumps(found.as_json, indent=0) + "\n", self.folder / NAME)
        return found


def _ratings_in(path: Path) -> Ratings:
    try:
        if path.stat().st_size > LARGEST:
            raise HostError(f"cannot read {path}: it is larger than {LARGEST >> 20} MB")
        return parse_json(path.read_bytes(), Ratings)
    except (OSError, RequestError) as error:
        raise HostError(f"cannot read the ratings in {path}: {error}; move the file away") from error
