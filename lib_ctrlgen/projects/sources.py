"""The pictures of a user's folder: found, named and checked one by one; each problem has its file's name."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.files import decode_bytes, is_deep
from lib_ctrlgen.images.picture_files import file_bytes, one_line
from lib_ctrlgen.request.notices import Notices

SMALLEST = 32  # pixels of the shorter side
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = 1


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file of the folder. `name` is unique: the path in the folder without suffix, `level--plan`."""

    path: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture that can be used.

    digest  SHA-256 of the file's bytes
    size    width and height, upright
    notes   what was changed while it was read: CMYK, 16 bits, EXIF, transparency, several frames
    """

    path: Path
    name: str
    digest: str
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that cannot be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """The usable pictures of a folder in the order of their names, and the other files."""

    sources: tuple[Source, ...]
    refused: tuple[Refused, ...]


def checked_folder(folder: Path, without: Path | None = None) -> CheckedFolder:
    """Check every file in a folder and the folders in it; each picture is decoded, and only one is in memory.

    Hidden files and the folder `without` (where results go) are left out. Raises HostError if the folder does
    not exist, is a file, or has no usable picture; the message names what was found instead.
    """
    found = [checked(file) for file in found_files(folder, without)]
    sources = tuple(each for each in found if isinstance(each, Source))
    refused = tuple(each for each in found if isinstance(each, Refused))
    if not sources:
        raise HostError(_nothing(folder, refused))
    return CheckedFolder(sources=sources, refused=refused)


def _nothing(folder: Path, refused: Sequence[Refused]) -> str:
    if not refused:
        return f"{folder} has no files: put pictures (PNG, JPEG, WebP, TIFF, BMP, GIF) into it"
    return f"{folder} has no usable picture; {'; '.join(map(str, refused[:5]))}" + (
        f"; and {len(refused) - 5} more files" if len(refused) > 5 else ""
    )


def found_files(folder: Path, without: Path | None = None) -> tuple[FoundFile, ...]:
    """All files in a folder and below it, in the order of their names, without hidden ones.

    Files of which only suffix or case differ get the suffix, and if need be a number, in their names.
    Raises HostError.
    """
    if not folder.is_dir():
        raise HostError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    try:
        paths = sorted(
            _files(folder, without), key=lambda path: path.relative_to(folder).as_posix().casefold()
        )
    except OSError as error:
        raise HostError(f"cannot read {folder}: {error.strerror or error}") from error
    stems = ["--".join(path.relative_to(folder).with_suffix("").parts) for path in paths]
    folded = [stem.casefold() for stem in stems]
    taken: set[str] = {stem for stem in folded if folded.count(stem) == 1}
    names = [
        stem if stem.casefold() in taken else _free(f"{stem}-{path.suffix[1:].lower()}", taken)
        for path, stem in zip(paths, stems, strict=True)
    ]
    return tuple(FoundFile(path=path, name=name) for path, name in zip(paths, names, strict=True))


def _files(folder: Path, without: Path | None) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or (without is not None and path.resolve() == without.resolve()):
            continue
        if path.is_dir():
            yield from () if path.is_symlink() else _files(path, without)
        else:
            yield path


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if it is taken; the result is taken from then on."""
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


def checked(file: FoundFile) -> Source | Refused:
    """Read and decode a file, and say what it is."""
    try:
        data = file_bytes(file.path)
        notices = Notices()
        picture = decode_bytes(data, "", notices=notices)
        require_visible(picture, "")
    except RequestError as error:
        return Refused(path=file.path, reason=one_line(error))
    if min(picture.size) < SMALLEST:
        width, height = picture.size
        return Refused(path=file.path, reason=f"{width} x {height} is smaller than {SMALLEST} x {SMALLEST}")
    frames = ("it has several frames or pages: the first one is used",) if notices.of() else ()
    return Source(
        path=file.path,
        name=file.name,
        digest=hashlib.sha256(data).hexdigest(),
        size=picture.size,
        notes=(*frames, *_notes(data)),
    )


def _notes(data: bytes) -> Iterator[str]:
    """What reading a picture changes, from its header."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "CMYK":
            yield "its CMYK colours were converted to RGB"
        if is_deep(image):
            yield f"its {image.mode} greys of more than 8 bits were reduced to 8 bits"
        if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
            yield "its transparent parts were laid on white"
        if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
            yield "it was turned upright as its EXIF data says"


def read_source(source: Source | FoundFile) -> Image.Image:
    """The picture of a checked file: RGB, upright, on white. Raises RequestError at the file's path."""
    path = str(source.path)
    try:
        return to_rgb(decode_bytes(file_bytes(source.path), path))
    except RequestError as error:
        raise RequestError(path, error.message) from error
