"""Reads the bytes of files that users call pictures, and says why one of them is none."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.errors import RequestError

from .files import decode_bytes

LARGEST_FILE = 256_000_000  # bytes


def file_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises RequestError without a path if it is empty, too large or unreadable."""
    try:
        if not path.is_file():
            raise RequestError("", "is not a file")
        if path.stat().st_size > LARGEST_FILE:
            raise RequestError("", f"is larger than {LARGEST_FILE // 1_000_000} MB")
        data = path.read_bytes()
    except OSError as error:
        raise RequestError("", error.strerror or str(error)) from error
    if not data:
        raise RequestError("", "is empty")
    return data


def why_unreadable(path: Path) -> str:
    """Why a file cannot be read as a picture, in one line; empty if it can."""
    try:
        decode_bytes(file_bytes(path), "")
    except RequestError as error:
        return one_line(error)
    return ""


def one_line(error: RequestError) -> str:
    """The message of an error without its path."""
    return " ".join(error.message.split())
