"""Decides which requests can be sampled as one batch, and describes the batch.

Requests are alike if they differ only in numbers that may differ between the rows of a batch.

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
LORA = "lora:"  # begins a key of `prompt_weights` for a LoRA, whose weight is one for all rows of a batch

Request = TypeVar("Request", bound=ControlRequest)
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class RequestBatch(Generic[Request]):
    """Requests that are sampled as one batch; each makes one or more of its pictures.

    requests  at least one; all of them are alike (see `alike`)
    sizes     the number of pictures of each request

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
        """The request from which fields that all requests share are read, such as model, size and pictures.

        Weights, windows, guidance scales and the seed may differ, and are read from each request.
        """
        return self.requests[0]

    @property
    def cells(self) -> int:
        """The number of requests."""
        return len(self.requests)

    @property
    def pictures(self) -> int:
        """The number of pictures of the batch."""
        return sum(self.sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """The index of each request's first picture in the batch."""
        return tuple(accumulate(self.sizes[:-1], initial=0))

    def per_picture(self, values: Sequence[Value]) -> list[Value]:
        """Repeat one value per request to one value per picture."""
        return list(chain.from_iterable(map(repeat, values, self.sizes)))

    def per_request(self, values: Sequence[Value]) -> list[Sequence[Value]]:
        """Group one value per picture by request."""
        return [values[start:end] for start, end in pairwise((*self.starts, self.pictures))]

    def to_check(self) -> list[Request]:
        """The requests to be checked against the loaded models: one for each combination of settings.

        The settings are the units' control modes, numbers of layer weights, and whether they reuse residuals.
        """
        kinds: dict[object, Request] = {}
        for request in self.requests:
            units = [unit for _, unit in request.enabled_units]
            key = tuple((unit.control_mode, len(unit.layer_weights or ()), unit.reuse > 1) for unit in units)
            kinds.setdefault(key, request)
        return list(kinds.values())


def alike(request: Request) -> Request | None:
    """The request without the fields that may differ within a batch; equal results can make one batch.

    None for a request that has to be sampled alone, because its pictures depend on each other or its sampler
    chooses its steps by the whole batch.
    """
    blend = request.blend
    if blend is not None and (blend.mode == "trajectory" or blend.explore):
        return None
    if isinstance(request, GenerationRequest) and SAMPLERS[request.sampling.sampler].adaptive:
        return None
    return _skeleton(request)


def _skeleton(request: Request) -> Request:
    """The request without its seed and without the numbers that may differ between rows."""
    numbers: dict[str, Any] = {"hires_cfg_scale": None}
    if request.cfg_scale is not None:
        numbers["cfg_scale"] = ONE
    if "seed" in request.__struct_fields__:
        numbers["seed"] = 0
    return replace(
        request,
        units=tuple(map(_unit, request.units)),
        prompt_weights={
            name: weight if name.startswith(LORA) else ONE
            for name, weight in sorted(request.prompt_weights.items())
        },
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
