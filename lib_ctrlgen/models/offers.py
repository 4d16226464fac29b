"""The published files that a unit needs and that are missing, for a host that offers to download them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.request.names import split_hash

from .hub_cache import cached_file, hub_cache
from .listing import size_text
from .published import WEIGHTS, Published, named, published_files, weights_of
from .store import ModelStore
from .weights import has_weights

BETWEEN = re.compile(r"[\s'\"`,;:()\[\]<>]+")  # the words of an error message


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A published file, and the folder into which it would be downloaded."""

    entry: Published
    folder: Path

    @property
    def size(self) -> str:
        """The file's size for people."""
        return size_text(self.entry.bytes) if self.entry.bytes else "size not known"


def missing_files(
    preprocessors: Iterable[str], model: str, store: ModelStore, error: str = ""
) -> tuple[Published, ...]:
    """The published files that are needed and not here, without repetitions.

    They are the weights of the preprocessors, the file that a unit's `model` names, and the files that an
    error message names: of an image encoder, for example.
    """
    needed = [entry for name in preprocessors for entry in weights_of(name)]
    needed += [entry for name in (model, *BETWEEN.split(error)) if (entry := _named(name))]
    return tuple(entry for entry in dict.fromkeys(needed) if not is_here(entry, store))


def is_here(entry: Published, store: ModelStore) -> bool:
    """Whether a published file is in the folders of the store, or in the Hub's cache."""
    if entry.kind == WEIGHTS:
        return has_weights(entry, store.weight_folders)
    if any((root / entry.folder / entry.file).is_file() for root in store.roots):
        return True
    if entry.repo and cached_file(entry.repo, entry.path_in_repo, hub_cache()) is not None:
        return True
    try:
        return store.resolve(entry.title).exists()
    except ModelError:
        return False


def published_titled(title: str) -> Published | None:
    """The published file with this title, or None."""
    return next((entry for entry in published_files() if entry.title == title), None)


def _named(name: str) -> Published | None:
    """The published file that a name means, with or without a hash behind it, or None."""
    return named(split_hash(name)[0].strip().rstrip(".")) if name.strip() else None
