"""A batch in which each picture has its own request, as the tuner makes several cells at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lib_ctrlgen.request.schedule import Schedule, constant
from lib_ctrlgen.request.spec import ControlRequest

T = TypeVar("T")


@dataclass(frozen=True)
class CellBatch:
    """Requests that can share a batch (`request.batching`), one per picture, with their CFG scales.

    `each` is the number of consecutive pictures of one cell. The tuner passes this object as the always-on
    script's first argument; a REST request cannot.
    """

    requests: tuple[ControlRequest, ...]
    scales: tuple[float, ...]
    each: int = 1

    def guided(self) -> tuple[Schedule | None, ...]:
        """The guidance schedule of each picture, or (None,) if all have the same constant scale."""
        own = [request.cfg_scale for request in self.requests]
        if not any(own) and len(set(self.scales)) == 1:
            return (None,)
        return tuple(scale or constant(flat) for scale, flat in zip(own, self.scales, strict=True))


class SharedInitLatents:
    """Lets every cell of an img2img batch begin with the latents of the first cell.

    The WebUI samples the VAE's distribution for each picture of a batch from one random generator. A cell
    that is made alone gets the generator's first numbers, so in a batch each cell must get these, too.
    """

    def __init__(self, each: int) -> None:
        self.each = each

    @contextmanager
    def batch(self) -> Iterator[Callable[[Any], None]]:
        """Does nothing at the steps of a batch."""
        yield lambda _params: None

    def begin(self, _p: Any, x: Any, _noise: Any) -> None:
        """Copy the first cell's latents to the other cells, in place."""
        x.copy_(x[: self.each].repeat(len(x) // self.each, 1, 1, 1))


def cell_batch_of(args: Sequence[Any]) -> CellBatch | None:
    """Return the requests of a batch of cells from a script's arguments, or None if there are none."""
    return args[0] if args and isinstance(args[0], CellBatch) else None


def own(values: Sequence[T], picture: int) -> T:
    """Return the value of one picture; a single value is that of all pictures."""
    return values[picture] if len(values) > 1 else values[0]
