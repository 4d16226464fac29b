"""A recipe as one zip, and the recipe in a zip that may come from a stranger.

Nothing is unpacked to the disk: the entries are read into memory under limits, checked as a recipe's files,
and only then saved. Names that are no file of a recipe (absolute, with `..`, `.git/...`) are refused.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from lib_ctrlgen.errors import RequestError

from .content import FOLDER, PICTURE, RECIPE, WEBUI, Files, Recipe, is_file
from .reading import LARGEST, LARGEST_FILE, LARGEST_TEXT, MEGABYTE, MOST_FILES, read_recipe

LARGEST_ZIP = LARGEST
LARGEST_LIST = MEGABYTE  # of the entries' names and sizes
HIGHEST_RATIO = 200  # unpacked to packed, of entries above a megabyte
TIME = (1980, 1, 1, 0, 0, 0)  # so that the same recipe is the same zip
MODE = (stat.S_IFREG | 0o644) << 16
END, END_SIZE = b"PK\x05\x06", 22
ZIP64, ZIP64_SIZE = b"PK\x06\x07", 20
ENCRYPTED = 0x1 | 0x40
UNIX = 3
DOS_FOLDER = 0x10
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ADVICE = "share a recipe with `ctrlgen recipes export`"


def write_zip(files: Files) -> bytes:
    """The files of a recipe as a zip."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr, entry.create_system = MODE, UNIX
            text = name in (RECIPE, WEBUI)
            entry.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            archive.writestr(entry, files[name])
    return stream.getvalue()


def read_zip(data: bytes) -> tuple[dict[str, bytes], Recipe]:
    """The files in a zip and the recipe that they are. Raises RequestError, and nothing else."""
    _check_end(data)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            files = dict(_entries(archive))
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError) as error:
        raise RequestError("", f"the zip is damaged: {error}") from error
    except (OSError, ValueError, RuntimeError, IndexError, UnicodeError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError("", f"the zip cannot be read: {error}") from error
    recipe = read_recipe(files)
    _require_used(files)
    return files, recipe


def _check_end(data: bytes) -> None:
    """Raise RequestError unless the end of the data is that of a plain zip with a short list of entries."""
    if len(data) > LARGEST_ZIP:
        raise RequestError("", f"the zip is larger than {LARGEST_ZIP // MEGABYTE} MB")
    end = data[-END_SIZE:]
    if len(end) < END_SIZE or not end.startswith(END) or end[-2:] != b"\0\0":
        raise RequestError("", f"this is no zip of a recipe; {ADVICE}")
    if data[-END_SIZE - ZIP64_SIZE :].startswith(ZIP64):
        raise RequestError("", f"this is a zip for large files (ZIP64); {ADVICE}")
    entries, size = struct.unpack("<HI", end[10:16])
    if entries > MOST_FILES or size > LARGEST_LIST:
        raise RequestError("", f"the zip has {entries} entries; a recipe has at most {MOST_FILES}")


def _entries(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """The files in a zip. Raises RequestError for an entry that no recipe has."""
    seen: set[str] = set()
    total = 0
    if len(archive.infolist()) > MOST_FILES:
        raise RequestError("", f"the zip has more than {MOST_FILES} entries")
    for entry in archive.infolist():
        name = entry.orig_filename  # `filename` ends at a null byte
        if name == f"{FOLDER}/" and not entry.file_size:
            continue
        _check_entry(entry, name)
        if name in seen:
            raise RequestError("", f"the zip has two entries {name!r}")
        seen.add(name)
        data = _read(archive, entry)
        total += len(data)
        if total > LARGEST:
            raise RequestError("", f"the zip unpacks to more than {LARGEST // MEGABYTE} MB")
        yield name, data


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    """Raise RequestError for an entry by what the list of entries says of it."""
    if not is_file(name):
        raise RequestError("", f"the zip has an entry {name[:80]!r}, which is no file of a recipe; {ADVICE}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.external_attr & DOS_FOLDER:
        raise RequestError("", f"the zip's entry {name!r} is a link, a folder or a device, not a plain file")
    if entry.flag_bits & ENCRYPTED:
        raise RequestError("", f"the zip's entry {name!r} is encrypted")
    if entry.compress_type not in METHODS:
        raise RequestError("", f"the zip's entry {name!r} is packed in another way than deflate")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The unpacked content of an entry. Unpacking stops at the largest size that a recipe's file may have."""
    name = entry.orig_filename
    limit = LARGEST_TEXT if name in (RECIPE, WEBUI) else LARGEST_FILE
    with archive.open(entry) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise RequestError("", f"the zip's entry {name!r} is larger than {limit // MEGABYTE} MB")
    if len(data) > max(MEGABYTE, HIGHEST_RATIO * entry.compress_size):
        raise RequestError("", f"the zip's entry {name!r} unpacks to over {HIGHEST_RATIO} times its size")
    return data


def _require_used(files: Files) -> None:
    """Raise RequestError for a picture that the recipe does not name."""
    text = files[RECIPE].decode("utf-8", "replace")
    unused = [name for name in sorted(files) if PICTURE.fullmatch(name) and name not in text]
    if unused:
        raise RequestError("", f"the zip's entry {unused[0]!r} is not named in {RECIPE}")
