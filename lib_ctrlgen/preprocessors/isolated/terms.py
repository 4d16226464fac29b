"""What a host allows while its thread waits for a worker or an installation, and when it cancels that.

>>> with under(Terms(cancelled=lambda: True)):
...     require_not_cancelled("the detection")
Traceback (most recent call last):
lib_ctrlgen.errors.HostError: the detection was cancelled
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from queue import Empty, Queue
from time import monotonic
from typing import TypeVar

from lib_ctrlgen.errors import HostError, ModelError

T = TypeVar("T")

LOOKED_AT = 0.1  # seconds between two looks whether it is cancelled


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A host's terms.

    cancelled  returns whether the user has cancelled what the thread waits for
    installs   whether the user allowed environments to be installed when they are first needed
    advice     how to allow that, as a part of the error of a missing environment; empty if it is not possible
    """

    cancelled: Callable[[], bool] = lambda: False
    installs: bool = False
    advice: str = ""


NONE = Terms()
_TERMS: ContextVar[Terms] = ContextVar("ctrlgen_terms", default=NONE)


@contextmanager
def under(terms: Terms) -> Iterator[None]:
    """Inside, these terms apply to this thread."""
    token = _TERMS.set(terms)
    try:
        yield
    finally:
        _TERMS.reset(token)


def terms_here() -> Terms:
    """The terms that apply to this thread; without a host's, nothing is cancelled or installed."""
    return _TERMS.get()


def require_not_cancelled(what: str) -> None:
    """Raise HostError if the host has cancelled what this thread does."""
    if terms_here().cancelled():
        raise HostError(f"{what} was cancelled")


def awaited(queue: Queue[T], seconds: float, what: str) -> T:
    """The next item of a queue. Raises ModelError after `seconds`, and HostError when it is cancelled."""
    end = monotonic() + seconds
    while True:
        with suppress(Empty):
            return queue.get(timeout=LOOKED_AT)
        require_not_cancelled(what)
        if monotonic() > end:
            raise ModelError(f"{what} did not answer within {seconds:g} s and was stopped")
