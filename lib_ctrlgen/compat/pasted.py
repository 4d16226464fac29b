"""Units of sd-webui-controlnet in a picture's infotext, as units that CtrlGen's panel can show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import to_payload

from .conversion import converted
from .generation import Family, Generation
from .infotext import units_of
from .reading import read_units

Payload: TypeAlias = dict[str, Any]
KEPT = ("model", "weight", "guidance_start", "guidance_end")
SIZE = re.compile(r"(\d+)x(\d+)")


def pasted_units(params: Mapping[str, Any], family: Family, notices: Notices) -> list[Payload]:
    """The units in the parameters of an infotext, as CtrlGen's own, without pictures.

    They mean what CtrlGen's own units mean: the panel has no field for the rules of sd-webui-controlnet. Of a
    unit that cannot be converted, such as one with an unknown preprocessor, the model, weight and window are
    kept. Raises nothing; `notices` say what was left out.
    """
    found = units_of(params, notices)
    size = SIZE.fullmatch(str(params.get("Size", "")))
    width, height = (int(size[1]), int(size[2])) if size else (512, 512)
    # As in img2img no unit must bring a picture.
    generation = Generation(family=family, width=width, height=height, img2img=True, own_semantics=True)
    return [_pasted(unit, f"$.units[{number}]", generation, notices) for number, unit in enumerate(found)]


def _pasted(unit: Payload, path: str, generation: Generation, notices: Notices) -> Payload:
    if not unit.get("enabled"):
        return {"enabled": False}
    try:
        request = converted(read_units([unit], path, notices), generation, notices)
        return {
            name: value for name, value in to_payload(request)["units"][0].items() if name != "image_from"
        }
    except CtrlGenError as error:
        notices.add(path, f"is restored without its preprocessor: {error}")
    plain: Payload = {name: unit[name] for name in KEPT if name in unit}
    return {"enabled": True, **plain}
