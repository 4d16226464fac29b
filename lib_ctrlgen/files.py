"""Writes pictures and texts atomically, with errors that name the file, and reads written pictures back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from filecmp import cmp
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.errors import HostError

PART = ".part"  # stands in the names of unfinished files
PROBE = bytes(4096)
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def new_folder(path: Path) -> Path:
    """Make a folder and test that it can be written, before anything is sampled. Raises HostError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = _unfinished(path / "probe")
        try:
            probe.write_bytes(PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"cannot write into {path}: {error.strerror or error}") from error
    return path


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """The path of a temporary file in the same folder, which is renamed to `path` when the block ends.

    Missing folders are made and links followed; a special file (`/dev/stdout`) is written directly. When the
    block raises, the file that was there before stays unchanged. Raises HostError when writing fails.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            yield target
            return
        part = _unfinished(target)
        try:
            yield part
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror or error}") from error


def _unfinished(path: Path) -> Path:
    """A new hidden name in the same folder with the same suffix, from which writers take the format."""
    return path.with_name(f".{uuid4().hex}{PART}{path.suffix}")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream to a temporary file that is flushed to the disk and renamed when the block ends.

    See `whole_path`.
    """
    with whole_path(path) as part, part.open("wb") as stream:
        yield stream
        stream.flush()
        if part.is_file():  # a device has nothing to synchronise
            os.fsync(stream.fileno())


def remove_parts(folder: Path) -> None:
    """Remove the temporary files of killed writers below a folder; no writer may be active there."""
    for part in list(folder.rglob(f".*{PART}*")):
        part.unlink(missing_ok=True)


def save_picture(image: Image.Image, path: Path, info: PngInfo | None = None) -> Path:
    """Write a PNG, its folder made first. Raises HostError when it cannot be written."""
    with whole_file(path) as stream:
        image.save(stream, format="PNG", pnginfo=info)
    return path


def png_text(parameters: str, **entries: str) -> PngInfo:
    """A PNG's text chunks (iTXt): `parameters`, the infotext that the WebUI reads back, and more by name."""
    info = PngInfo()
    for name, text in {"parameters": parameters, **entries}.items():
        info.add_itxt(name, text)
    return info


def save_text(text: str, path: Path) -> Path:
    """Write a UTF-8 file, its folder made first. Raises HostError when it cannot be written."""
    return save_bytes(text.encode("utf-8"), path)


def require_own_copy(copy: Path, original: Path) -> None:
    """Raise HostError if `copy` exists and has other contents than `original`: it is somebody else's file."""
    own = original.is_file() and copy.is_file() and cmp(original, copy, shallow=False)
    if copy.exists() and not own:
        raise HostError(f"{copy} exists and is not of this training: move it away, then go on")


def save_bytes(data: bytes, path: Path) -> Path:
    """Write a file, its folder made first. Raises HostError when it cannot be written."""
    with whole_file(path) as stream:
        stream.write(data)
    return path


def read_picture(path: Path) -> Image.Image | None:
    """A PNG that was written before, decoded; None where it is missing, cut off or damaged."""
    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.verify()  # the checksums, which decoding does not always look at
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.load()
            return image if data.endswith(PNG_END) else None
    except Exception:  # noqa: BLE001 - Pillow raises many kinds of exceptions on broken files
        return None


def expanded(name: str | Path) -> Path:
    """A path with `~` at its start as the home folder; one that names no user's home stays as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~$draft.png` is a file's name
        return Path(name)
