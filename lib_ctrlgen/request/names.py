"""Finds the model names that a text means: the same name, another spelling, or names that contain it.

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
    """A name and the hash after it in square brackets, in lower case; an empty text if there is no hash."""
    match = _HASHED.fullmatch(text.rstrip())
    return (match["name"], match["hash"].lower()) if match else (text, "")


def matching(text: str, names: Iterable[str]) -> list[str]:
    """The names that a text may mean: all names that fit the first rule for which there is one.

    The rules, in order: the text is the whole name; it is the last part of the name's path; it is contained
    in the name. The first two are tried as spelled, then without the file's suffix, then ignoring case, then
    ignoring both.
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
    """The error message for a text that fits several names."""
    return f"{text!r} fits several {what}s: {listed(found)}; give the whole name"


def listed(names: Sequence[str]) -> str:
    """Names for an error message, sorted; after the first ones only the number of the others is given."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more


def printable(name: str) -> str:
    r"""A file's name as valid Unicode: bytes that are not valid UTF-8 become escapes such as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def last_part(name: str) -> str:
    """The part of a name after its last slash."""
    return name.rpartition("/")[2]


def without_suffix(name: str) -> str:
    """A name without the suffix of a model file."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def _plain(name: str) -> str:
    return without_suffix(name.lower())
