"""The pictures of one batch with a request for each, as the tuner makes many cells at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lib_ctrlgen.schedule import Schedule, constant
from lib_ctrlgen.spec import ControlRequest

T = TypeVar("T")


@dataclass(frozen=True)
class Stacked:
    """Requests that are alike (`lib_ctrlgen.stack`), one per picture, with the WebUI's own CFG scales.

    It stands in the place of the always-on script's first argument. Over REST nobody can say it.
    """

    requests: tuple[ControlRequest, ...]
    scales: tuple[float, ...]

    def guided(self) -> tuple[Schedule | None, ...]:
        """The guidance of each picture, where it is not the same number for all."""
        own = [request.cfg_scale for request in self.requests]
        if not any(own) and len(set(self.scales)) == 1:
            return (None,)
        return tuple(scale or constant(flat) for scale, flat in zip(own, self.scales, strict=True))


def stacked_of(args: Sequence[Any]) -> Stacked | None:
    """The stack in a script's arguments, if there is one."""
    return args[0] if args and isinstance(args[0], Stacked) else None


def own(values: Sequence[T], picture: int) -> T:
    """A picture's own value, where not all have the same one."""
    return values[picture] if len(values) > 1 else values[0]
