"""The table of published model files: what each is for, which checkpoints it fits, where it is published."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from lib_ctrlgen.request.names import last_part, without_suffix

TABLE = Path(__file__).with_name("published.json")
HUB = "https://huggingface.co"
ENDINGS = ("_fp16", ".fp16", "_fp32", "_bf16", "_pruned")  # of copies of a model in another form
NO_CONTROLS = frozenset({"preprocessor", "image encoder", "face", "lora"})
OFFLINE = frozenset({"1", "on", "yes", "true"})
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
    also           other names, without suffix, under which the same model is found
    preprocessors  of weights, the preprocessors that use them; of a model, those whose control maps it takes
    beside         other files of the same folder on the Hub that it needs
    folder         the folder for all of these; empty for a file that needs none of its own
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
    beside: tuple[str, ...] = ()
    folder: str = ""
    program: bool = False

    @property
    def title(self) -> str:
        """What it is called in lists: its folder's name, or the file's."""
        return self.folder or self.file

    @property
    def is_no_control(self) -> bool:
        """Whether it is something that controls or preprocessors use, and no control itself."""
        return self.kind in NO_CONTROLS

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


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in OFFLINE


def hub_endpoint() -> str:
    """The address of the Hugging Face Hub, or of the mirror in HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


@lru_cache(maxsize=1)
def published_files() -> tuple[Published, ...]:
    """The whole table, in its own order."""
    return tuple(msgspec.convert(row, Published) for row in json.loads(TABLE.read_text("utf-8")))


def named(name: str) -> Published | None:
    """The published file that a model or file is by its name, or None.

    Folders, suffix, case and `-` or `_` make no difference; where no other name fits, neither does an ending
    such as `_fp16`.

    >>> named("sub/Control-v11p_sd15_canny_fp16.safetensors").purpose
    'edges (Canny), half precision'
    >>> named("control_v11p_sd15_canny_pruned.pth").purpose
    'edges (Canny)'
    """
    key = _key(name)
    ending = next((ending for ending in ENDINGS if key.endswith(ending)), "")
    return _by_key().get(key) or _by_key().get(key.removesuffix(ending))


@lru_cache(maxsize=1)
def _by_key() -> dict[str, Published]:
    """The table by what `_key` makes of its names; the first of several entries counts."""
    found: dict[str, Published] = {}
    for each in published_files():
        found.setdefault(_key(each.title), each)
    for each in published_files():
        for name in each.also:
            found.setdefault(_key(name), each)
    return found


def _key(name: str) -> str:
    return without_suffix(last_part(name.replace("\\", "/").lower())).replace("-", "_")


def weights_of(preprocessor: str) -> Iterator[Published]:
    """The weight files that a preprocessor uses."""
    return (each for each in published_files() if each.kind == WEIGHTS and preprocessor in each.preprocessors)
