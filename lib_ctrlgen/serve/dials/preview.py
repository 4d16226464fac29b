"""A request made small for a preview: fewer pixels and steps, one picture, the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import parse_job
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import ControlUnit, GenerationRequest, to_payload
from lib_ctrlgen.serve.checks import CheckedJob, CheckRequest, title_of
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.records import PREVIEW

SMALLEST = 64  # pixels of a side, as in a request
CELL = 8
ALIGNED = "style_aligned"  # its units need a second picture


class PreviewSize(Spec, frozen=True, kw_only=True):
    """How small a preview is.

    side   the most pixels of its longer side
    steps  the most steps
    only   the index of the one unit that acts in it (solo); all enabled units if absent
    """

    side: Annotated[int, Meta(ge=SMALLEST, le=4096)] = 256
    steps: Annotated[int, Meta(ge=1, le=1000)] = 8
    only: Annotated[int, Meta(ge=0)] | None = None


def checked_preview(
    content: Mapping[str, Any], size: PreviewSize, limits: Limits, check: CheckRequest
) -> CheckedJob:
    """The preview of a job, after the checks of the whole job. A `tune` section is left out.

    Raises RequestError with the JSON path of what is wrong in the job.
    """
    request = parse_job({name: value for name, value in content.items() if name != "tune"})
    limits.check_request(request)
    check(request)
    small = preview_of(request, size)
    return CheckedJob(kind=PREVIEW, payload=to_payload(small, whole=True), title=title_of(request))


def preview_of(request: GenerationRequest, size: PreviewSize) -> GenerationRequest:
    """The request with fewer pixels, steps and pictures. An open seed becomes 0, so previews can be compared.

    Raises RequestError for a solo unit that the request does not have.
    """
    if size.only is not None and size.only >= len(request.units):
        raise RequestError("$.units", f"there is no unit {size.only}: the request has {len(request.units)}")
    share = min(1.0, size.side / max(request.width, request.height))
    count = _pictures(request)
    return replace(
        request,
        width=_scaled(request.width, share),
        height=_scaled(request.height, share),
        steps=min(request.steps, max(size.steps, SAMPLERS[request.sampling.sampler].least)),
        seed=max(0, request.seed),
        batch_size=count,
        units=tuple(
            _unit(unit, share, count, size.only in (None, i)) for i, unit in enumerate(request.units)
        ),
        blend=None if request.blend is None else _blend(request.blend),
    )


def _scaled(pixels: int, share: float) -> int:
    return max(SMALLEST, round(pixels * share / CELL) * CELL)


def _pictures(request: GenerationRequest) -> int:
    """The fewest pictures that the request can be shown with."""
    blend = request.blend
    if blend is not None and blend.mode == "trajectory":
        return min(request.batch_size, 2 * (len(blend.concepts) - 1) + 1)
    aligned = any(unit.control == ALIGNED for _, unit in request.enabled_units)
    return min(request.batch_size, 2 if aligned else 1)


def _unit(unit: ControlUnit, share: float, count: int, acts: bool) -> ControlUnit:
    return replace(
        unit,
        enabled=unit.enabled and acts,
        images=unit.images[:count],
        masks=unit.masks[:count],
        mask_feather=unit.mask_feather * share,
    )


def _blend(blend: Blend) -> Blend:
    """The blend without its map and its animation, and with its open seeds at 0."""
    concepts = tuple(
        each if each.seed is None else replace(each, seed=max(0, each.seed)) for each in blend.concepts
    )
    spacing = None if blend.spacing is None else 0
    return replace(blend, explore=0, animation="none", spacing=spacing, concepts=concepts)
