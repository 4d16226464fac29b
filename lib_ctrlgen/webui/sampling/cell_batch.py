"""A batch in which each picture has its own request, as the tuner makes several cells at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.schedule import Schedule, constant
from lib_ctrlgen.request.spec import ControlRequest

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CellBatch(RequestBatch[ControlRequest]):
    """The cells of a batch, with equal numbers of pictures; `scales` are their CFG scales.

    The tuner passes this object as the always-on script's first argument; a REST request cannot.
    """

    scales: tuple[float, ...]


def guidance_of(batch: RequestBatch[ControlRequest]) -> Sequence[Schedule | None]:
    """Return the guidance schedule of each picture, or a single one if it is that of all pictures.

    None stands for the WebUI's own CFG scale.
    """
    if not isinstance(batch, CellBatch):
        return (batch.shared.cfg_scale,)
    own = [request.cfg_scale for request in batch.requests]
    if not any(own) and len(set(batch.scales)) == 1:
        return (None,)
    return batch.per_picture([given or constant(x) for given, x in zip(own, batch.scales, strict=True)])


def requests_of(batch: RequestBatch[ControlRequest]) -> Sequence[ControlRequest]:
    """Return the request of each picture, or a single one if it is that of all pictures."""
    return batch.requests if batch.cells == 1 else batch.per_picture(batch.requests)


class SharedInitLatents:
    """Lets every cell of an img2img batch begin with the latents of the first cell.

    The WebUI samples the VAE's distribution for each picture of a batch from one random generator. A cell
    that is made alone gets the generator's first numbers, so in a batch each cell must get these, too.
    """

    def __init__(self, size: int) -> None:
        self.size = size  # pictures of one cell

    @contextmanager
    def batch(self) -> Iterator[Callable[[Any], None]]:
        """Do nothing at the steps of a batch."""
        yield lambda _params: None

    def begin(self, _p: Any, x: Any, _noise: Any) -> None:
        """Copy the first cell's latents to the other cells, in place."""
        x.copy_(x[: self.size].repeat(len(x) // self.size, 1, 1, 1))


def cell_batch_of(args: Sequence[Any]) -> CellBatch | None:
    """Return the batch of cells in a script's arguments, or None if there is none."""
    return args[0] if args and isinstance(args[0], CellBatch) else None


def own(values: Sequence[T], picture: int) -> T:
    """Return the value of one picture; a single value is that of all pictures."""
    return values[picture] if len(values) > 1 else values[0]
