"""Converts the units of sd-webui-controlnet in a generation's script arguments to units of CtrlGen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modules import shared

from lib_ctrlgen.compat.conversion import converted_unit
from lib_ctrlgen.compat.generation import Family, Generation
from lib_ctrlgen.compat.module_list import module_named, require_here
from lib_ctrlgen.compat.places import ARGUMENTS
from lib_ctrlgen.compat.reading import OFF, read_units
from lib_ctrlgen.compat.unit import ControlNetUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.webui.settings import SEMANTICS, model_store

from .model_names import resolved

if TYPE_CHECKING:
    from lib_ctrlgen.request.notices import Notices
    from lib_ctrlgen.request.spec import ControlUnit

FAMILIES: dict[str, Family] = {"SD1.5": "sd15", "SD2": "sd2", "SDXL": "sdxl"}
CELL = 8  # pixels of a latent's cell
SEEDS = 2**32
NO_PICTURE = "is required: send a picture, or use img2img, whose picture then serves"
EMBEDDED = (
    "saved features are not read here: send the pictures in 'image', or a unit of CtrlGen's own script with "
    "the parameter 'embedding'"
)


def units_in(arguments: Sequence[Any], notices: Notices) -> tuple[ControlNetUnit, ...]:
    """The units of script arguments, one for each, with the names of their models in the model store.

    Empty if no unit is enabled. Raises RequestError below `$.alwayson_scripts.ControlNet.args`.
    """
    units = read_units(arguments, ARGUMENTS, notices)
    if not any(unit.enabled for unit in units):
        return ()
    for number, unit in enumerate(units):
        if unit.ipadapter_input:
            raise RequestError(f"{ARGUMENTS}[{number}].ipadapter_input", EMBEDDED)
    files = model_store().files
    return tuple(replace(unit, model=resolved(unit.model, files)) if unit.enabled else OFF for unit in units)


def converted_units(units: Sequence[ControlNetUnit], p: Any, notices: Notices) -> tuple[ControlUnit, ...]:
    """The units as CtrlGen's own, in their order. Raises RequestError for what cannot be converted."""
    generation = generation_of(p)
    found = []
    for number, unit in enumerate(units):
        if unit.enabled and not (unit.images or generation.img2img):
            raise RequestError(f"{ARGUMENTS}[{number}].image", NO_PICTURE)
        if unit.enabled:
            require_here(module_named(unit.module, ""), f"{ARGUMENTS}[{number}].module")
        found.append(converted_unit(unit, number, generation, notices))
    return tuple(found)


def generation_of(p: Any) -> Generation:
    """What the conversion of units must know of a generation of the WebUI."""
    from lib_ctrlgen.webui.sampling.loaded_unet import current_port  # imports torch and the controls

    shape = current_port().shape
    init = tuple(getattr(p, "init_images", None) or ())
    mask = getattr(p, "image_mask", None) if init else None
    options = shared.opts.data
    return Generation(
        family=FAMILIES.get(shape.family.name) or ("sdxl" if len(shape.residual_channels) == 10 else "sd15"),
        width=int(p.width) // CELL * CELL,
        height=int(p.height) // CELL * CELL,
        hires=not init and bool(getattr(p, "enable_hr", False)),
        img2img=bool(init),
        init_size=init[0].size if init else (0, 0),
        resize_mode=min(int(getattr(p, "resize_mode", 0) or 0), 3),
        inpaint=mask is not None,
        only_masked=mask is not None and bool(p.inpaint_full_res),
        map_seed=_map_seed(p),
        ignore_mask=bool(options.get("controlnet_ignore_noninpaint_mask", False)),
        inpaint_blur=int(options.get("control_net_inpaint_blur_sigma", 7)),
        hires_early=bool(options.get("hires_fix_use_firstpass_conds", False))
        or bool(getattr(shared.sd_model, "lowvram", False)),
        own_semantics=bool(options.get(SEMANTICS, False)),
    )


def _map_seed(p: Any) -> int:
    """The seed of preprocessors that draw numbers: as in sd-webui-controlnet the sum of the two seeds.

    A seed that is drawn is that of the first picture, also in place of a drawn variation seed.
    """
    first = int((getattr(p, "all_seeds", None) or (0,))[0])
    given = (int(getattr(p, name, 0) or 0) for name in ("seed", "subseed"))
    return sum(first if seed == -1 else max(seed, 0) for seed in given) % SEEDS
