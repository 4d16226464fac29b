"""Standard output and error that end cleanly when they are full, closed, or cannot show a letter."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

FAILURE = 2


def soften() -> None:
    """Show letters that an output's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what was printed. Raises OSError when that fails; closed output (`>&-`) is no failure."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard() -> None:
    """Send what is still to be printed nowhere, so that the interpreter does not fail over it at its exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str) -> int:
    """Print one line to stderr; returns the exit code."""
    with suppress(OSError):
        if sys.stderr is not None:
            print("ctrlgen: error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return FAILURE


def shows(text: str) -> bool:
    """Whether standard output has all letters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeError:
        return False
    return True


class Unbroken:
    """Standard error for a progress bar: what cannot be written is dropped, and the work goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Decides which letters the bar is drawn with."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def fileno(self) -> int:
        """For the width of the terminal. Raises OSError where there is none."""
        if self._stream is None:
            raise OSError("closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()
