"""The protocol of an effect, and the masks and acting units that all effects use."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.assigned_map import with_map
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.composite import mixed, pixels_of
from lib_ctrlgen.images.masks import by_area, mask_values
from lib_ctrlgen.session.row_weights import RowWeight, strengths
from lib_ctrlgen.unet.call import LATENT_FACTOR, RowName, UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import MaskFit, Residuals, softened

Kind = TypeVar("Kind")
RowWeights: TypeAlias = Sequence[RowWeight | None]
Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ActingUnit:
    """A unit that acts in at least one row of a call. `row_weights` are its row weights, one per row.

    When several units were merged into this one (`fusion`), `joined` holds the key of each and the weight
    that its control map has within the network, and `merged` their indices; otherwise these are empty.

    `maps` [B, C, H, W] are the control maps of all rows of the call where another program assigned them, see
    `session.assigned_maps`; None where the unit uses its own.
    """

    unit: ActiveUnit
    row_weights: RowWeights
    joined: tuple[tuple[Hashable, float], ...] = ()
    merged: tuple[int | str, ...] = ()
    maps: Tensor | None = None

    @property
    def indices(self) -> tuple[int | str, ...]:
        """The index of the unit, or those of all units that were merged into it."""
        return self.merged or (self.unit.index,)

    @property
    def name(self) -> tuple[Hashable, ...]:
        """The key of the unit, or the keys of all units that were merged into it."""
        return tuple(key for key, _ in self.joined) or (self.unit.key,)


@dataclass
class Masks:
    """Resizes the units' masks to the latent, and caches them until the session closes."""

    fitted: dict[tuple[Hashable, Size, torch.device], Tensor] = field(default_factory=dict)

    def of(self, unit: ActiveUnit, row_weights: RowWeights, call: UNetCall) -> Tensor | None:
        """Return a unit's mask [1 or B, 1, h, w] in 0..1 at the latent's size, None for a unit without one.

        It is cropped and resized like the unit's picture, feathered, and softened by the mask strength of
        each row in `row_weights`. With the semantics of sd-webui-controlnet it has its own size, and
        `mask_fit` says how it is resized.
        """
        if unit.mask is None:
            return None
        key = (unit.key, call.size, call.inputs.x.device)
        if key not in self.fitted:
            if mask_fit(unit) == "area":
                mask = at_latent(unit, unit.mask, call.size)
            else:
                mask = torch.from_numpy(mask_values(unit.mask))[None, None]
            self.fitted[key] = mask.to(call.inputs.x.device)
        return softened(self.fitted[key], strengths(row_weights))


def mask_fit(unit: ActiveUnit) -> MaskFit:
    """Return how the mask of a unit is resized to a layer."""
    return "area" if unit.spec.semantics is None else "bilinear"


def within_mask(
    unit: ActiveUnit, row_weight: RowWeight, picture: Image.Image, changed: Image.Image
) -> Image.Image:
    """Return `changed` where the unit's mask is white and `picture` where it is black, at mask strength."""
    if unit.mask is None or unit.spec.semantics is not None:
        return changed
    mask = torch.from_numpy(at_pixels(unit, unit.mask, *picture.size))
    share = softened(mask, row_weight.strength).numpy()
    return Image.fromarray(mixed(pixels_of(changed), pixels_of(picture), share))


def at_latent(unit: ActiveUnit, mask: Image.Image, size: Size) -> Tensor:
    """Return a unit's mask [1, 1, h, w] in 0..1 for a latent of this height and width."""
    height, width = (side * LATENT_FACTOR for side in size)
    return by_area(at_pixels(unit, mask, width, height), size)


def at_pixels(unit: ActiveUnit, mask: Image.Image, width: int, height: int) -> NDArray[np.float32]:
    """Return a unit's feathered mask [height, width] in 0..1, in pixels."""
    return Frame(unit.spec.resize_mode, unit.crop).mask(mask, width, height, unit.spec.mask_feather)


class UnitEffect(Protocol):
    """One way of acting on U-Net calls. A session creates one instance of each class that its units need.

    `control` is the protocol of the controls that this effect applies.
    """

    control: ClassVar[type]

    def __init__(self, masks: Masks) -> None: ...

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Add the effect's own hooks to the U-Net of `port`; `hooks` removes them at the end."""

    def begin(
        self, call: UNetCall, acting: Sequence[ActingUnit], classes: Sequence[int] | None
    ) -> Residuals | None:
        """Prepare the hooks for a call; return residuals for the port to add, or None.

        `acting` may be empty. `classes`, if given, is for each row the first row with the same inputs.
        """

    def end(self) -> None:
        """Clean up after a call, also when it raised."""

    def close(self) -> None:
        """Clean up when the session closes."""


@runtime_checkable
class RowCoupling(Protocol):
    """An effect with which the result of a row depends on other rows of the call."""

    def coupled(self, call: UNetCall, acting: Sequence[ActingUnit]) -> Sequence[Sequence[int | RowName]]:
        """Return for each row the rows that it depends on; the name of one that is in another call."""


def coupled_keys(
    keys: Sequence[Hashable], call: UNetCall, acting: Sequence[tuple[UnitEffect, Sequence[ActingUnit]]]
) -> list[Hashable]:
    """Return a key for each row, equal for rows that have the same result.

    `keys` are equal for rows that have the same result where no row depends on another; `acting` are the
    effects with the units that act in the call.
    """
    found: list[Hashable] = list(keys)
    for effect, units in acting:
        if isinstance(effect, RowCoupling):
            others = effect.coupled(call, units)
            more = [tuple(keys[row] if isinstance(row, int) else row for row in rows) for rows in others]
            found = list(zip(found, more, strict=True))
    return found


def control_of(unit: ActiveUnit, kind: type[Kind]) -> Kind:
    """Return a unit's control as one of the protocol by which the session chose an effect's units.

    Raises TypeError for a control of another kind.
    """
    if not isinstance(unit.control, kind):
        raise TypeError(f"{type(unit.control).__name__} is no {kind.__name__}")
    return unit.control


def mapped_control(each: ActingUnit, kind: type[Kind], rows: Sequence[int]) -> Kind:
    """Return the same for a control that reads a control map, with the maps that were assigned for `rows`."""
    control = control_of(each.unit, kind)
    return control if each.maps is None else with_map(control, each.maps[row_index(rows)])
