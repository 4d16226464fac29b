"""Which requests can be sampled as one batch, and the batch that they make.

Requests are alike where they differ only in numbers that every row of a batch can have for itself.

>>> from .spec import ControlUnit, GenerationRequest
>>> first, other = (ControlUnit(model="a", weight=constant(weight)) for weight in (1, 2))
>>> alike(GenerationRequest(units=(first,))) == alike(GenerationRequest(units=(other,)))
True
>>> alike(GenerationRequest()) == alike(GenerationRequest(steps=9))
False
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, repeat
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from .blend import Blend
from .sampler_names import SAMPLERS
from .schedule import constant
from .spec import ControlRequest, ControlUnit, GenerationRequest

ONE = constant(1.0)

Request = TypeVar("Request", bound=ControlRequest)
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class RequestBatch(Generic[Request]):
    """Requests that are sampled as one batch; each is a cell of it and makes one or more of its pictures.

    requests: at least one, all of them alike (see `alike`); sizes: the number of pictures of each.

    >>> batch = RequestBatch(requests=(ControlRequest(), ControlRequest()), sizes=(2, 1))
    >>> batch.cells, batch.pictures, batch.starts, batch.per_picture(["a", "b"])
    (2, 3, (0, 2), ['a', 'a', 'b'])
    >>> batch.per_request(["x", "y", "z"])
    [['x', 'y'], ['z']]
    """

    requests: tuple[Request, ...]
    sizes: tuple[int, ...]

    @property
    def shared(self) -> Request:
        """A request to read what all of them have in common from, such as the model, the size and the images.

        Weights, windows, guidance scales and the seed differ: read them from each request.
        """
        return self.requests[0]

    @property
    def cells(self) -> int:
        """The number of requests."""
        return len(self.requests)

    @property
    def pictures(self) -> int:
        """The number of pictures of the whole batch."""
        return sum(self.sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """The number of each request's first picture in the batch."""
        return tuple(accumulate(self.sizes[:-1], initial=0))

    def per_picture(self, values: Sequence[Value]) -> list[Value]:
        """One value for each picture, from one for each request."""
        return list(chain.from_iterable(map(repeat, values, self.sizes)))

    def per_request(self, values: Sequence[Value]) -> list[Sequence[Value]]:
        """The values of each request's pictures, from one for each picture."""
        return [values[start:end] for start, end in pairwise((*self.starts, self.pictures))]

    def to_check(self) -> list[Request]:
        """The first request, and one for each other combination of what is checked against the models.

        That is of units' control modes, numbers of layer weights, and whether they reuse residuals.
        """
        kinds: dict[object, Request] = {}
        for request in self.requests:
            units = [unit for _, unit in request.enabled_units]
            key = tuple((unit.control_mode, len(unit.layer_weights or ()), unit.reuse > 1) for unit in units)
            kinds.setdefault(key, request)
        return list(kinds.values())


def alike(request: Request) -> Request | None:
    """The request without what may differ within a batch: requests for which this is equal make one batch.

    None where the request has to be sampled alone: its pictures depend on each other, or its sampler
    chooses its steps by the pictures.
    """
    blend = request.blend
    if blend is not None and (blend.mode == "trajectory" or blend.explore):
        return None
    if isinstance(request, GenerationRequest) and SAMPLERS[request.sampling.sampler].adaptive:
        return None
    return _skeleton(request)


def _skeleton(request: Request) -> Request:
    """The request without the numbers that every row may have for itself, and without its seed."""
    numbers: dict[str, Any] = {"hires_cfg_scale": None}
    if request.cfg_scale is not None:
        numbers["cfg_scale"] = ONE
    if "seed" in request.__struct_fields__:
        numbers["seed"] = 0
    return replace(
        request,
        units=tuple(map(_unit, request.units)),
        prompt_weights=dict.fromkeys(sorted(request.prompt_weights), ONE),
        blend=None if request.blend is None else _blend(request.blend),
        **numbers,
    )


def _unit(unit: ControlUnit) -> ControlUnit:
    return replace(
        unit,
        weight=ONE,
        hires=None,
        guidance_start=0.0,
        guidance_end=1.0,
        control_mode="balanced",
        layer_weights=None,
        mask_strength=ONE,
        reuse=1,
    )


def _blend(blend: Blend) -> Blend:
    concepts = (replace(each, weight=ONE, hires=None, mask_strength=ONE) for each in blend.concepts)
    return replace(blend, concepts=tuple(concepts))
