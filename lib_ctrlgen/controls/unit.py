"""A unit with its control loaded, ready for a generation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from lib_ctrlgen.images.canvas import Crop
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit

from .attention_protocols import LayeredControl
from .own_layers import PooledControl, ReferenceControl
from .protocols import (
    AttentionControl,
    ContextControl,
    FinishingControl,
    PartialControl,
    PredictionControl,
    PreparedControl,
    ResidualControl,
)


@dataclass(frozen=True, kw_only=True)
class ActiveUnit:
    """An enabled unit of a request with its control loaded.

    index     its index in `request.units`, or a name
    mask      white where the unit acts, before it is fitted to a size
    concept   the concept of a blend on whose rows alone the unit acts; None for all rows
    pictures  the numbers of the pictures of the batch on which alone the unit acts; None for all
    crop      the part of the init picture that is generated, see `Crop`
    after_unet  a second control, which changes the predicted latent or the finished picture
    image_at, mask_at  the JSON paths of its picture and its mask
    loaded    `name [hash]` of its model files, by `model` or by the parameter that names the file
    """

    index: int | str
    spec: ControlUnit
    control: PreparedControl
    mask: Image.Image | None = None
    concept: int | None = None
    pictures: tuple[int, ...] | None = None
    crop: Crop | None = None
    after_unet: PredictionControl | FinishingControl | None = None
    image_at: str = ""
    mask_at: str = ""
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its JSON path, for errors."""
        return f"$.units[{self.index}]" if self.concept is None else f"$.blend.concepts[{self.concept}]"

    @property
    def key(self) -> Hashable:
        """Identifies the unit within a session."""
        return self.index, self.pictures

    @property
    def parts(self) -> tuple[ActiveUnit, ...]:
        """One unit for each of its controls (`control` and `after_unet`), with the same spec and mask."""
        if self.after_unet is None:
            return (self,)
        return replace(self, after_unet=None), replace(self, control=self.after_unet, after_unet=None)

    def sees(self, picture: int) -> bool:
        """Whether the unit acts on this picture of the batch."""
        return self.pictures is None or picture in self.pictures

    @property
    def cond_only(self) -> bool:
        """Whether the unit acts on conditional rows only, whatever its control mode."""
        own = isinstance(self.control, PartialControl) and self.control.cond_only
        return own or self.concept is not None

    @property
    def fades(self) -> bool:
        """Whether its control has weights that the unit's weight does not multiply."""
        return isinstance(self.control, LayeredControl) and self.control.weighting.fades

    @property
    def all_rows(self) -> bool:
        """Whether the unit acts on all rows, whatever its control mode."""
        return isinstance(self.control, (PredictionControl, FinishingControl))


def unit_variants(
    requests: Sequence[ControlRequest], units: Sequence[ActiveUnit]
) -> list[tuple[ControlUnit, ...]]:
    """The specs of `units` in each of several requests that have the same units and concepts."""
    own: list[dict[int | str, ControlUnit]] = [dict(request.enabled_units) for request in requests]
    return [tuple(each.get(unit.index, unit.spec) for unit in units) for each in own]


def of_batch(units: Sequence[ActiveUnit], number: int, size: int) -> tuple[ActiveUnit, ...]:
    """The units of batch `number` of `size` pictures, with picture numbers counted inside the batch."""
    first = number * size
    return _moved(units, lambda picture: [picture - first] if first <= picture < first + size else [])


def repeated(units: Sequence[ActiveUnit], size: int, times: int) -> tuple[ActiveUnit, ...]:
    """The units for a batch of `times` cells with `size` pictures each."""
    return _moved(units, lambda picture: [picture + size * cell for cell in range(times)])


def _moved(units: Sequence[ActiveUnit], places: Callable[[int], list[int]]) -> tuple[ActiveUnit, ...]:
    """Map the picture numbers of units with `places`, and drop units without a picture."""
    moved = [
        unit
        if unit.pictures is None
        else replace(unit, pictures=tuple(sorted(place for own in unit.pictures for place in places(own))))
        for unit in units
    ]
    return tuple(unit for unit in moved if unit.pictures != ())


def sees_picture(control: object) -> bool:
    """Whether a control looks at the unit's picture itself, so that it has no control map."""
    reads = isinstance(control, (AttentionControl, ContextControl, PooledControl, ReferenceControl))
    return reads and not isinstance(control, ResidualControl)  # InstantID is both and has a map
