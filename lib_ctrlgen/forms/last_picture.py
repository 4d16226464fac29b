"""Units that use the last picture that the host made as their picture."""

from __future__ import annotations

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit

NONE_YET = "the WebUI has made no picture since it was started: send the picture in 'image'"
TWICE = "the unit has a picture, too: leave it out, or say image_from 'request'"


def with_last(request: ControlRequest, last: Image.Image | None) -> ControlRequest:
    """Return the request with `last` as the picture of each enabled unit with `image_from: last`.

    Such a unit becomes one with `image_from: request`, because the next generation has another last picture:
    what is recorded of the request names this one by its hash. Raises RequestError if there is no last
    picture, or if such a unit has a picture of its own.
    """
    if not any(unit.image_from == "last" for _, unit in request.enabled_units):
        return request
    units = [
        _filled(unit, last, f"$.units[{index}]") if unit.enabled and unit.image_from == "last" else unit
        for index, unit in enumerate(request.units)
    ]
    return replace(request, units=tuple(units))


def without_last(request: ControlRequest, message: str) -> None:
    """Raise RequestError with this message if an enabled unit has `image_from: last`."""
    for index, unit in request.enabled_units:
        if unit.image_from == "last":
            raise RequestError(f"$.units[{index}].image_from", message)


def _filled(unit: ControlUnit, last: Image.Image | None, path: str) -> ControlUnit:
    """Return the unit with the last picture."""
    if last is None:
        raise RequestError(f"{path}.image_from", NONE_YET)
    if unit.image or unit.images:
        raise RequestError(f"{path}.image_from", TWICE)
    return replace(unit, image=encode_image(last), image_from="request")
