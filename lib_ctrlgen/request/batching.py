"""Requests that differ in numbers of single steps only, and so can be the pictures of one batch.

>>> from .spec import ControlUnit, GenerationRequest
>>> first, other = (ControlUnit(model="a", weight=constant(weight)) for weight in (1, 2))
>>> alike(GenerationRequest(units=(first,))) == alike(GenerationRequest(units=(other,)))
True
>>> alike(GenerationRequest()) == alike(GenerationRequest(steps=9))
False
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from .blend import Blend
from .sampler_names import SAMPLERS
from .schedule import constant
from .spec import ControlRequest, ControlUnit, GenerationRequest

ONE = constant(1.0)

Request = TypeVar("Request", bound=ControlRequest)


def alike(request: Request) -> Request | None:
    """What requests of one batch have in common: equal, if their pictures may be rows of one batch.

    None where a request's pictures depend on each other, so that it is made by itself.
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


def loaded_alike(requests: Sequence[Request]) -> list[Request]:
    """One request of each kind that has to be checked against the models: modes and layers differ."""
    kinds = {
        tuple(
            (unit.control_mode, len(unit.layer_weights or ()), unit.reuse > 1)
            for _, unit in request.enabled_units
        ): request
        for request in reversed(requests)
    }
    return list(reversed(kinds.values()))
