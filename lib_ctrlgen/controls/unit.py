"""A unit that is ready to act: its spec, and its control with the model and picture loaded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from lib_ctrlgen.images.canvas import Crop
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit

from .protocols import (
    FinishingControl,
    PartialControl,
    PredictionControl,
    PreparedControl,
    ReferenceControl,
)


@dataclass(frozen=True, kw_only=True)
class ActiveUnit:
    """An enabled unit of a request, ready to act.

    index: its place in `request.units`, or a name; mask: white = controlled, fitted like the picture;
    concept: the concept of a blend whose rows alone it acts on, None for all rows; pictures: the numbers
    of the pictures of the batch that it alone acts on, None for all; crop: the part that the host paints;
    later: what it does beside `control`, after the U-Net or on the finished picture; image_at, mask_at: the
    JSON paths of its picture and its mask; loaded: the names and hashes of its model files, by `model` or
    the parameter that names one.
    """

    index: int | str
    spec: ControlUnit
    control: PreparedControl
    mask: Image.Image | None = None
    concept: int | None = None
    pictures: tuple[int, ...] | None = None
    crop: Crop | None = None
    later: PredictionControl | FinishingControl | None = None
    image_at: str = ""
    mask_at: str = ""
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its place in the request, for errors."""
        return f"$.units[{self.index}]" if self.concept is None else f"$.blend.concepts[{self.concept}]"

    @property
    def key(self) -> Hashable:
        """Identifies the unit within a session."""
        return self.index, self.pictures

    @property
    def parts(self) -> tuple[ActiveUnit, ...]:
        """The unit as one for each control that it has, with the same spec and mask."""
        if self.later is None:
            return (self,)
        return replace(self, later=None), replace(self, control=self.later, later=None)

    def sees(self, picture: int) -> bool:
        """Whether it acts on this picture of the batch."""
        return self.pictures is None or picture in self.pictures

    @property
    def cond_only(self) -> bool:
        """Whether it acts on conditional rows alone, whatever its mode."""
        own = isinstance(self.control, PartialControl) and self.control.cond_only
        return own or self.concept is not None

    @property
    def fades(self) -> bool:
        """Whether its control has weights that the unit's weight does not multiply."""
        return isinstance(self.control, ReferenceControl) and self.control.weighting.fades

    @property
    def all_rows(self) -> bool:
        """Whether it acts on all rows, whatever its mode."""
        return isinstance(self.control, (PredictionControl, FinishingControl))


def unit_variants(
    requests: Sequence[ControlRequest], units: Sequence[ActiveUnit]
) -> list[tuple[ControlUnit, ...]]:
    """The fields of `units` in each of several requests with the same units and concepts."""
    own: list[dict[int | str, ControlUnit]] = [dict(request.enabled_units) for request in requests]
    return [tuple(each.get(unit.index, unit.spec) for unit in units) for each in own]


def of_batch(units: Sequence[ActiveUnit], number: int, size: int) -> tuple[ActiveUnit, ...]:
    """The units of batch `number` of `size` pictures, which are counted from its first one."""
    first = number * size
    return _moved(units, lambda picture: [picture - first] if first <= picture < first + size else [])


def repeated(units: Sequence[ActiveUnit], size: int, times: int) -> tuple[ActiveUnit, ...]:
    """The units of `times` cells of `size` pictures each, all in one batch."""
    return _moved(units, lambda picture: [picture + size * cell for cell in range(times)])


def _moved(units: Sequence[ActiveUnit], places: Callable[[int], list[int]]) -> tuple[ActiveUnit, ...]:
    """The units with other numbers for their pictures; without those that have none left."""
    moved = [
        unit
        if unit.pictures is None
        else replace(unit, pictures=tuple(sorted(place for own in unit.pictures for place in places(own))))
        for unit in units
    ]
    return tuple(unit for unit in moved if unit.pictures != ())
