"""Finds pictures by their hashes in the recipes of a library."""

from __future__ import annotations

from dataclasses import dataclass

from .content import FOLDER, data_url
from .library import Library


@dataclass(frozen=True)
class PictureIndex:
    """The pictures in the newest versions of a library's recipes."""

    library: Library

    def find(self, digest: str) -> str:
        """The picture with this hash as a data URL, empty if no recipe has it. `digest` is 12 hex digits."""
        for name in self.library.names():
            for path in sorted((self.library.folder / name / FOLDER).glob(f"{digest}.*")):
                return data_url(path.read_bytes(), path.suffix[1:])
        return ""
