"""The base class of all parts of a request: frozen, keyword-only, without unknown fields."""

from __future__ import annotations

import math
import re

from msgspec import Struct

from lib_ctrlgen.errors import RequestError

from .schedule import Schedule

RANDOM_SEED = -1  # stands for a seed that is drawn at random
SURROGATE = re.compile("[\ud800-\udfff]")


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of all parts of a request. Raises RequestError for values that JSON cannot carry."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_plain(name, getattr(self, name))


def check_plain(name: str, value: object) -> None:
    """Raise RequestError at `name` for values that JSON cannot carry: NaN, infinity, a lone surrogate."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(name, f"must be a finite number, got {value}")
    if isinstance(value, str) and not value.isascii() and SURROGATE.search(value):
        raise RequestError(name, "is not valid Unicode text: it contains a lone surrogate")


def check_share(name: str, schedule: Schedule) -> None:
    """Raise RequestError at `name` for a schedule that leaves 0..1 anywhere."""
    low, high = schedule.bounds
    if low < 0 or high > 1:
        raise RequestError(name, f"must stay within 0..1, is {schedule}")
