"""Writing pictures and texts, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import HostError


def new_folder(path: Path) -> Path:
    """Make a folder to write into. Raises HostError, so that nobody samples for nothing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"cannot write into {path}: {error.strerror or error}") from error
    return path


def save_picture(image: Image.Image, path: Path, info: PngInfo | None = None) -> Path:
    """Write a PNG, its folder made first. Raises HostError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG", pnginfo=info)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def save_text(text: str, path: Path) -> Path:
    """Write a UTF-8 file, its folder made first. Raises HostError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror or error}") from error
    return path
