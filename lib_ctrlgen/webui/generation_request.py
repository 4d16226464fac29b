"""Reads the request of a generation, and makes what replaces its `p.sample`.

Imported by the first generation, not at the WebUI's start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from lib_ctrlgen.compat.places import ARGUMENTS, PlacedNotices, UnitPlaces
from lib_ctrlgen.compat.unit import ControlNetUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.infotext import KEY, describe
from lib_ctrlgen.forms.init_images import with_init
from lib_ctrlgen.forms.last_picture import with_last
from lib_ctrlgen.forms.unit_changes import changed_args, changed_request
from lib_ctrlgen.forms.unit_fields import stated_request
from lib_ctrlgen.prompts.networks import LoraTag
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.per_picture import for_picture, is_per_picture
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import ControlRequest

from .comments import without_comments
from .controlnet.arguments import controlnet_arguments
from .last_picture import last_picture
from .sampling.cell_batch import CellBatch, cell_batch_of
from .sampling.init_images import init_pictures, picture_count
from .sampling.method_patch import SamplePatch
from .sampling.prompt_check import needs_schedules, scheduled_loras
from .xyz_axes import changes_of


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a generation is asked for.

    further  the units in the form of sd-webui-controlnet, which are the last of the batch's one request
    places   where the units of the request came from
    notices  warnings about the client's request
    """

    batch: RequestBatch[ControlRequest]
    further: tuple[ControlNetUnit, ...] = ()
    places: UnitPlaces = field(default_factory=UnitPlaces)
    notices: Notices = field(default_factory=Notices)


def patch_for(p: Any, args: tuple[Any, ...]) -> SamplePatch | None:
    """The controlled sampling of a generation; None if nothing is asked of CtrlGen. Raises CtrlGenError."""
    asked = asked_for(p, args)
    shared = asked.batch.shared
    read = without_comments(p, getattr(p, "scripts", None))
    prompts, loras = needs_schedules(read, shared), scheduled_loras(read, shared)
    if not (asked.batch.cells > 1 or shared.acts or prompts or loras):
        return None
    with asked.places.in_errors():
        return controlled(p, asked, prompts, loras)


def asked_for(p: Any, args: tuple[Any, ...]) -> Asked:
    """Read the arguments of CtrlGen's script (`args`) and of its script "ControlNet". Raises RequestError."""
    further, cells = controlnet_arguments(p), cell_batch_of(args)
    if cells is None:
        return one_request(p, args, further)
    if further:
        message = "the tuner varies the units of CtrlGen's own script alone: name them there"
        raise RequestError(ARGUMENTS, message)
    return Asked(batch=cells)


def one_request(p: Any, args: tuple[Any, ...], further: tuple[Any, ...]) -> Asked:
    """Read one request for all pictures of a generation; concepts without a seed get a random one."""
    count, changes = picture_count(p), changes_of(p, own=not further)
    request = changed_request(stated_request(changed_args(args, changes)), changes)
    places = UnitPlaces(len(request.units))
    notices: Notices = PlacedNotices(places)
    units: tuple[ControlNetUnit, ...] = ()
    if further:
        from .controlnet.units import converted_units, units_in  # imports torch and the controls

        units = units_in(further, notices)
        more = converted_units(units, p, notices) if units else ()
        request = replace(request, units=(*request.units, *more))
    with places.in_errors():
        request = with_last(with_init(request, init_pictures(p), count), last_picture().picture)
    batch = RequestBatch(requests=(seeded(request),), sizes=(count,))
    return Asked(batch=batch, further=units, places=places, notices=notices)


def controlled(p: Any, asked: Asked, prompts: bool, loras: tuple[LoraTag, ...]) -> SamplePatch:
    """Load the models of a batch, and record its requests in the infotexts. Raises CtrlGenError.

    `prompts` is whether a prompt has weights for CtrlGen; `loras` are the LoRAs with schedules.
    """
    from .sampling.generation import controlled_sample  # imports torch and the controls, so only when needed

    batch = asked.batch
    patch = controlled_sample(p, batch, prompts=prompts, loras=loras, notices=asked.notices)
    patch.places, patch.further = asked.places, asked.further
    cells = isinstance(batch, CellBatch)
    if isinstance(batch, CellBatch):
        p.extra_generation_params["CFG scale"] = batch.per_picture(batch.scales)
    sizes = batch.sizes if cells or is_per_picture(batch.shared) else (1,)
    pairs = zip(batch.requests, sizes, strict=True)
    own = [for_picture(request, number) for request, size in pairs for number in range(size)]
    texts = [describe(patch.recorded(request)) if request.acts else None for request in own]
    if cells or any(texts):
        p.extra_generation_params[KEY] = texts if cells or len(texts) > 1 else texts[0]
    return patch
