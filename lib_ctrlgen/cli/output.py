"""Output that does not fail when the streams are full or closed, or their encoding lacks a character."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

FAILURE = 2
PARTLY_FAILED = 3  # some cells, assets or files


def escape_unprintable() -> None:
    """Print characters that the encoding of an output lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Flush standard output. Raises OSError when that fails; a closed output (`>&-`) is no failure."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard_output() -> None:
    """Discard the buffered output, so that the interpreter does not fail over it when it exits."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str) -> int:
    """Print one line to stderr; returns the exit code."""
    with suppress(OSError):
        if sys.stderr is not None:
            print("ctrlgen: error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return FAILURE


def can_print(text: str) -> bool:
    """Whether standard output's encoding has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeError:
        return False
    return True


class SafeStderr:
    """Standard error for a progress bar. Text that cannot be written is dropped, so that the work goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """The encoding; progress bars choose their characters by it."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def fileno(self) -> int:
        """The file descriptor, for the terminal's width. Raises OSError if there is none."""
        if self._stream is None:
            raise OSError("closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write the text, if possible."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()
