"""The table of published model files: what each is for, which checkpoints it fits, where it is published."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import msgspec

from lib_ctrlgen.request.names import last_part, without_suffix

TABLE = Path(__file__).with_name("published.json")
HUB = "https://huggingface.co"
WEIGHTS = "preprocessor"  # the kind of a preprocessor's weights


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published file.

    file           its name on disk
    kind           its control family (`request.catalogue.CONTROLS`), `preprocessor` for a preprocessor's
                   weights, or `image encoder`, `face` and `lora` for what adapters use
    purpose        what it is for, in a few words
    repo, path     the repository on the Hugging Face Hub, and the path in it if it is not `file`
    url            the address of a file that is not on the Hub
    base           the checkpoint family that it fits: SD1.5, SD2, SDXL, or empty
    licence        as its page names it; empty where the page names none
    sha256, bytes  its content; empty and 0 where they are not known
    also           patterns (`*`) of the names, without suffix, under which the same model is found as well
    preprocessors  of weights, the preprocessors that use them; of a model, those whose control maps it takes
    program        whether the file is a TorchScript program, which is accepted with exactly this sha256 alone
    """

    file: str
    kind: str
    purpose: str
    repo: str = ""
    path: str = ""
    url: str = ""
    base: str = ""
    licence: str = ""
    sha256: str = ""
    bytes: int = 0
    also: tuple[str, ...] = ()
    preprocessors: tuple[str, ...] = ()
    program: bool = False

    @property
    def path_in_repo(self) -> str:
        """The path of the file in its repository on the Hub."""
        return self.path or self.file

    @property
    def address(self) -> str:
        """The address of the file; that of a Hub file is at HF_ENDPOINT if a mirror is set there."""
        if self.url:
            return self.url
        return f"{hub_endpoint()}/{self.repo}/resolve/main/{self.path_in_repo}"

    @property
    def page(self) -> str:
        """The page on which the file is published, for people to read."""
        return f"{HUB}/{self.repo}" if self.repo else self.url

    def has_name(self, name: str) -> bool:
        """Whether a model of this name, with or without folders and suffix, is this file by its name."""
        stem = without_suffix(last_part(name.lower()))
        return stem == without_suffix(self.file.lower()) or any(
            fnmatchcase(stem, pattern.lower()) for pattern in self.also
        )


def hub_endpoint() -> str:
    """The address of the Hugging Face Hub, or of the mirror in HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


@lru_cache(maxsize=1)
def published_files() -> tuple[Published, ...]:
    """The whole table, in its own order."""
    return tuple(msgspec.convert(row, Published) for row in json.loads(TABLE.read_text("utf-8")))


def named(name: str) -> Published | None:
    """The published file of this name: the same file name, else the first whose patterns fit, or None."""
    last = last_part(name.replace("\\", "/"))
    exact = (each for each in published_files() if each.file.lower() == last.lower())
    return next(exact, None) or next((each for each in published_files() if each.has_name(last)), None)


def weights_of(preprocessor: str) -> Iterator[Published]:
    """The weight files that a preprocessor uses."""
    return (each for each in published_files() if each.kind == WEIGHTS and preprocessor in each.preprocessors)
