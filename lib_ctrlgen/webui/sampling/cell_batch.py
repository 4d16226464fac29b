"""The pictures of one batch with a request for each, as the tuner makes many cells at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lib_ctrlgen.request.schedule import Schedule, constant
from lib_ctrlgen.request.spec import ControlRequest

T = TypeVar("T")


@dataclass(frozen=True)
class Stacked:
    """Requests that are alike (`request.batching`), one per picture, with the WebUI's own CFG scales.

    `each` is the number of pictures that one cell has, one after the other.

    It stands in the place of the always-on script's first argument. Over REST nobody can say it.
    """

    requests: tuple[ControlRequest, ...]
    scales: tuple[float, ...]
    each: int = 1

    def guided(self) -> tuple[Schedule | None, ...]:
        """The guidance of each picture, where it is not the same number for all."""
        own = [request.cfg_scale for request in self.requests]
        if not any(own) and len(set(self.scales)) == 1:
            return (None,)
        return tuple(scale or constant(flat) for scale, flat in zip(own, self.scales, strict=True))


class SameStart:
    """Every cell of an img2img stack begins with the latents of the first one.

    The WebUI draws from the encoder's distribution for each picture of a batch, with one chain of
    random numbers: alone, a cell has the first draws.
    """

    def __init__(self, each: int) -> None:
        self.each = each

    @contextmanager
    def batch(self) -> Iterator[Callable[[Any], None]]:
        """Nothing happens at the steps."""
        yield lambda _params: None

    def begin(self, _p: Any, x: Any, _noise: Any) -> None:
        """Put the first cell's latents in the place of the others', in the host's own tensor."""
        x.copy_(x[: self.each].repeat(len(x) // self.each, 1, 1, 1))


def stacked_of(args: Sequence[Any]) -> Stacked | None:
    """The stack in a script's arguments, if there is one."""
    return args[0] if args and isinstance(args[0], Stacked) else None


def own(values: Sequence[T], picture: int) -> T:
    """A picture's own value, where not all have the same one."""
    return values[picture] if len(values) > 1 else values[0]
