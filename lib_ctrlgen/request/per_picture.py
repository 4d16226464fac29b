"""Units with `images` or `masks`: a separate control picture or mask for each picture of a batch.

>>> from .spec import ControlRequest, ControlUnit
>>> unit = ControlUnit(model="edges", images=("A", "B", "A"))
>>> [(each.image, each.pictures) for each in picture_inputs(unit, 3, "$.units[0]")]
[('A', (0, 2)), ('B', (1,))]
>>> for_picture(ControlRequest(units=(unit,)), 1).units[0].image
'B'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from lib_ctrlgen.errors import RequestError

from .spec import ControlRequest, ControlUnit

Request = TypeVar("Request", bound=ControlRequest)


@dataclass(frozen=True, kw_only=True)
class PictureInputs:
    """The control picture and mask of a unit for some pictures of the batch (None: for all of them)."""

    image: str
    mask: str
    pictures: tuple[int, ...] | None = None

    @property
    def place(self) -> int:
        """The number of the first picture that uses them, for JSON paths in errors."""
        return self.pictures[0] if self.pictures else 0


def picture_inputs(unit: ControlUnit, count: int, path: str) -> tuple[PictureInputs, ...]:
    """The inputs of a unit for `count` pictures of a batch; pictures with equal inputs share one entry.

    Raises RequestError below `path` unless there is one image (or mask) or one for each picture.
    """
    for name in ("images", "masks"):
        given = len(getattr(unit, name))
        if given not in (0, count):
            raise RequestError(
                f"{path}.{name}",
                f"{given} pictures for a generation of {count}: give one for each picture of the whole "
                f"batch (batch size times batch count), or a single one in {name[:-1]!r}",
            )
    if not unit.images and not unit.masks:
        return (PictureInputs(image=unit.image, mask=unit.mask),)
    found: dict[tuple[str, str], list[int]] = {}
    for number in range(count):
        found.setdefault(own(unit, number), []).append(number)
    if len(found) == 1:
        ((image, mask),) = found
        return (PictureInputs(image=image, mask=mask),)
    return tuple(
        PictureInputs(image=image, mask=mask, pictures=tuple(numbers))
        for (image, mask), numbers in found.items()
    )


def own(unit: ControlUnit, picture: int) -> tuple[str, str]:
    """The control picture and the mask of a unit for one picture of the batch."""
    image = unit.images[picture] if unit.images else unit.image
    return image, unit.masks[picture] if unit.masks else unit.mask


def is_per_picture(request: ControlRequest) -> bool:
    """Whether an enabled unit has a separate control picture or mask for each picture of the batch."""
    return any(unit.images or unit.masks for _, unit in request.enabled_units)


def for_picture(request: Request, picture: int) -> Request:
    """The request for one picture of its batch: units keep that picture's image and mask."""
    if not is_per_picture(request):
        return request
    return replace(request, units=tuple(_single(unit, picture) for unit in request.units))


def _single(unit: ControlUnit, picture: int) -> ControlUnit:
    if not unit.enabled or not (unit.images or unit.masks):
        return unit
    image, mask = own(unit, picture)
    return replace(unit, image=image, images=(), mask=mask, masks=())
