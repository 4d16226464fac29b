"""Checks the names of recipes and variants, and writes variants as names of git branches.

>>> recipe_name(" Küche am Abend ")
'Küche am Abend'
>>> branch_of("warm light"), variant_of("warm%20light")
('warm%20light', 'warm light')
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from lib_ctrlgen.errors import HostError, RequestError, nearest

NAME, VARIANT, VERSION = "$.name", "$.variant", "$.version"
LONGEST, MOST_BYTES = 80, 200
GIT_DIR = ".git"
MAIN = "main"  # the first variant of a recipe
REFUSED = frozenset('/\\:*?"<>|')
JOINERS = "\u200c\u200d"  # letters of Persian and of some emoji are written with them
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"}
)
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
HEX = re.compile(r"[0-9a-fA-F]{7,40}")


def names_in(folder: Path) -> list[str]:
    """The names of all recipes in a library's folder, sorted without regard to case. Raises HostError."""
    try:
        paths = [*folder.iterdir()] if folder.is_dir() else []
        found = [path.name for path in paths if is_recipe(path)]
    except OSError as error:
        raise HostError(f"cannot read the recipes in {folder}: {error.strerror or error}") from error
    return sorted(found, key=lambda name: (name.casefold(), name))


def is_recipe(path: Path) -> bool:
    """Whether a folder of the library is a recipe: it has a repository."""
    return not path.name.startswith(".") and not path.is_symlink() and (path / GIT_DIR).is_dir()


def recipe_name(text: object, path: str = NAME) -> str:
    """The name of a recipe, which is also the name of its folder, in Unicode's NFC form.

    Raises RequestError at `path` for a name that some system cannot use as a folder's name, or that would
    lead out of the library.
    """
    if not isinstance(text, str):
        raise RequestError(path, "expected a text")
    name = unicodedata.normalize("NFC", text).strip()
    if problem := _problem(name):
        raise RequestError(path, f"{name!r} cannot be used as a name: {problem}")
    return name


def _problem(name: str) -> str:
    """Why a name cannot be used; empty if it can."""
    if not name or len(name) > LONGEST or len(name.encode("utf-8", "replace")) > MOST_BYTES:
        return f"it must have 1 to {LONGEST} letters, and at most {MOST_BYTES} bytes in UTF-8"
    if any(unicodedata.category(sign) in INVISIBLE and sign not in JOINERS for sign in name):
        return "it contains an invisible character"
    if found := sorted(REFUSED & set(name)):
        return f"it contains {' '.join(found)}"
    if name[0] in ".-" or name[-1] == ".":
        return "it begins with a dot or a hyphen, or ends with a dot"
    device = name.partition(".")[0].rstrip().casefold() in DEVICES
    return "Windows keeps it for a device" if device else ""


def same_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that differs from `name` in upper and lower case at most, if there is one."""
    wanted = unicodedata.normalize("NFC", name).casefold()
    return next((each for each in known if unicodedata.normalize("NFC", each).casefold() == wanted), None)


def branch_of(variant: object, path: str = VARIANT) -> str:
    """The git branch of a variant: its name with all but ASCII letters and digits percent-encoded.

    Raises RequestError at `path`.
    """
    name = recipe_name(variant, path)
    encoded = "".join(
        sign if sign in PLAIN else "".join(f"%{byte:02X}" for byte in sign.encode("utf-8")) for sign in name
    )
    if len(encoded) > MOST_BYTES:
        raise RequestError(path, f"{name!r} is too long for the name of a variant")
    return encoded


def variant_of(branch: str) -> str:
    """The name of the variant that is kept in a branch."""
    return unquote(branch)


def version_id(text: object, path: str = VERSION) -> str:
    """A version's hash, of which at least 7 hex digits are given. Raises RequestError at `path`."""
    if not isinstance(text, str) or not HEX.fullmatch(text.strip()):
        raise RequestError(path, f"{text!r} is not a version of a history: 7 to 40 hex digits")
    return text.strip().lower()


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """The error message for a name that is not among the known ones."""
    return f"there is no {what} {name!r}; {nearest(name, known)}"
