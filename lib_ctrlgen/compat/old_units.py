"""Units of sd-webui-controlnet in an old request as CtrlGen's own, with an error for each that cannot be."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import to_payload

from .conversion import converted_unit
from .old_job import OldJob
from .places import ARGUMENTS
from .reading import OFF, read_unit
from .unit import ControlNetUnit, MaskedImage


class ConversionError(RequestError):
    """Several errors: `problems` are all of them, in the order of the units."""

    def __init__(self, problems: Sequence[RequestError]) -> None:
        super().__init__(problems[0].path, problems[0].message)
        self.problems = tuple(problems)


def own_units(old: OldJob, notices: Notices, pictures: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The units of an old request as CtrlGen's units in JSON types, without those that are disabled.

    `pictures` are those of the enabled units, in their order, in base64 or data URLs. Where none is given and
    the old request may lack pictures, the unit has the name of a file that must be put there
    (`unit-0.png`), and a notice says so. Raises ConversionError.
    """
    left = list(pictures)
    found = [_own_unit(given, number, old, notices, left) for number, given in enumerate(old.units)]
    problems = [each for each in found if isinstance(each, RequestError)]
    if left:
        problems.append(RequestError("--image", f"{len(left)} more than there are enabled units"))
    if problems:
        raise ConversionError(problems)
    return [each for each in found if isinstance(each, dict)]


def _own_unit(
    given: Any, number: int, old: OldJob, notices: Notices, pictures: list[str]
) -> dict[str, Any] | RequestError | None:
    """A unit as CtrlGen's own, None for a disabled one, or the error; takes its picture from the list."""
    try:
        unit = _read(given, number, old, notices)
        if not unit.enabled:
            return None
        return _converted(unit, number, old, notices, pictures.pop(0) if pictures else "")
    except RequestError as error:
        return error


def _read(given: Any, number: int, old: OldJob, notices: Notices) -> ControlNetUnit:
    """A unit; where nothing but units is given, one that says nothing of `enabled` is meant."""
    if given is None or given == "":
        return OFF
    if old.pictureless and isinstance(given, dict):
        given = {"enabled": True} | given
    return read_unit(given, f"{ARGUMENTS}[{number}]", notices)


def _converted(
    unit: ControlNetUnit, number: int, old: OldJob, notices: Notices, picture: str
) -> dict[str, Any]:
    """One unit as JSON types. Raises RequestError at its place in the old request."""
    missing = not (picture or unit.images or old.generation.img2img)
    if picture:
        unit = replace(unit, images=(MaskedImage(image=picture),))
    elif missing and old.pictureless:
        unit = replace(unit, images=(_blank(old),))
    found = to_payload(converted_unit(unit, number, old.generation, notices))
    if missing and old.pictureless:
        found["image"] = f"unit-{number}.png"
        message = f"is not in an infotext: put it at {found['image']} beside the job, or give it with --image"
        notices.add(f"{ARGUMENTS}[{number}].image", message)
        if unit.pixel_perfect:
            message = "the resolution is that of a picture with the generation's proportions"
            notices.add(f"{ARGUMENTS}[{number}].pixel_perfect", message)
    return found


def _blank(old: OldJob) -> MaskedImage:
    """A picture of the generation's size in the place of one that is not there."""
    stream = io.BytesIO()
    Image.new("RGB", (old.generation.width, old.generation.height), "white").save(stream, "PNG")
    return MaskedImage(image=base64.b64encode(stream.getvalue()).decode("ascii"))
