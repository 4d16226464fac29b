"""Units that use the img2img picture as their image; in a batch each picture has its own."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit

Pictures = Sequence[Image.Image]


def with_init(request: ControlRequest, pictures: Pictures, count: int) -> ControlRequest:
    """Return the request with the img2img pictures in the units with `image_from: init`.

    `count` is the number of pictures of the generation. Raises RequestError if there is no img2img picture,
    or if such a unit has a picture of its own.
    """
    if not any(unit.image_from == "init" for _, unit in request.enabled_units):
        return request
    encoded = {id(picture): encode_image(picture) for picture in pictures}
    texts = [encoded[id(picture)] for picture in pictures]
    units = [
        _filled(unit, texts, count, f"$.units[{index}]") if _wants(unit) else unit
        for index, unit in enumerate(request.units)
    ]
    return replace(request, units=tuple(units))


def _wants(unit: ControlUnit) -> bool:
    return unit.enabled and unit.image_from == "init"


def _filled(unit: ControlUnit, texts: Sequence[str], count: int, path: str) -> ControlUnit:
    """Return the unit with the encoded pictures `texts`, or with one if they are all the same."""
    if not texts:
        raise RequestError(f"{path}.image_from", "there is no img2img picture: send one, or use img2img")
    several = len(set(texts)) > 1
    image = "" if several else texts[0]
    images = tuple(texts[number % len(texts)] for number in range(count)) if several else ()
    if (unit.image or unit.images) and (unit.image, unit.images) != (image, images):
        message = "the unit has a picture, too: leave it out, or say image_from 'request'"
        raise RequestError(f"{path}.image_from", message)
    return replace(unit, image=image, images=images)
