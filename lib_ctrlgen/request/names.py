"""Which of several names a text means: exact, then another spelling, then the only one that contains it.

>>> split_hash("control_v11p_sd15_canny [d14c016b]")
('control_v11p_sd15_canny', 'd14c016b')
>>> matching("depth", ["sub/Depth", "depth_anything"])
['sub/Depth']
>>> matching("ctrlgen-tiny", ["ctrlgen-tiny-depth", "ctrlgen-tiny-edges"])
['ctrlgen-tiny-depth', 'ctrlgen-tiny-edges']
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

SUFFIXES = (".safetensors", ".pth", ".bin", ".ckpt", ".pt")
LISTED = 8  # names in an error message
_HASHED = re.compile(r"(?P<name>.*\S.*?) ?\[(?P<hash>[0-9a-fA-F]{8,64})\]", re.DOTALL)


def split_hash(text: str) -> tuple[str, str]:
    """A name and the hash behind it in square brackets, in lower case; an empty hash where there is none."""
    match = _HASHED.fullmatch(text.rstrip())
    return (match["name"], match["hash"].lower()) if match else (text, "")


def matching(text: str, names: Iterable[str]) -> list[str]:
    """The names that a text may mean: those of the first rule that any name fits.

    Tried in this order: the whole name, the last part of its path, and a part of the name; the first two
    as they are spelled, without a file suffix, without regard to case, and without either.
    """
    wanted, known = text.strip().replace("\\", "/"), list(names)
    if text in known:
        return [text]
    for part in (str, last_part):
        for spelled in (str, without_suffix, str.lower, _plain):
            found = [name for name in known if spelled(part(name).strip()) == spelled(wanted)]
            if found and wanted:
                return found
    plain = _plain(wanted)
    return [name for name in known if plain in name.lower()] if plain else []


def several(text: str, found: Sequence[str], what: str) -> str:
    """The message for a text that several names fit."""
    return f"{text!r} may be each of several {what}s: {listed(found)}; give the whole name"


def listed(names: Sequence[str]) -> str:
    """Names in an error message; of very many only the first ones."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more


def printable(name: str) -> str:
    r"""A file's name as text that JSON and pages can hold: bytes in it that are no UTF-8 become `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def last_part(name: str) -> str:
    """What is behind the last slash."""
    return name.rpartition("/")[2]


def without_suffix(name: str) -> str:
    """A name without the suffix of a model file."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def _plain(name: str) -> str:
    return without_suffix(name.lower())
