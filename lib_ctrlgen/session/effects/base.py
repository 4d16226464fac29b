"""What a way of acting on a U-Net provides, and what all of them share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.composite import mixed, pixels_of
from lib_ctrlgen.images.masks import by_area
from lib_ctrlgen.session.row_weights import RowWeight, strengths
from lib_ctrlgen.unet.call import LATENT_FACTOR, UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import Residuals, softened

Kind = TypeVar("Kind")
RowWeights: TypeAlias = Sequence[RowWeight | None]
Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ActingUnit:
    """A unit that acts in a call, and what each row of it gets; some row gets something.

    `joined` are, for several units that act as one, the keys of them and the weights that went into
    what their network sees.
    """

    unit: ActiveUnit
    doses: RowWeights
    joined: tuple[tuple[Hashable, float], ...] = ()

    @property
    def name(self) -> tuple[Hashable, ...]:
        """The unit, or the units that act as one."""
        return tuple(key for key, _ in self.joined) or (self.unit.key,)


@dataclass
class Masks:
    """The units' masks at the sizes that were asked for, while a session is open."""

    fitted: dict[tuple[Hashable, Size, torch.device], Tensor] = field(default_factory=dict)

    def of(self, unit: ActiveUnit, doses: RowWeights, call: UNetCall) -> Tensor | None:
        """A unit's mask [1 or B, 1, h, w] at the latent's size and the rows' strengths, on its device.

        It is fitted like the picture, and feathered. None where the unit has none.
        """
        if unit.mask is None:
            return None
        key = (unit.key, call.size, call.inputs.x.device)
        if key not in self.fitted:
            self.fitted[key] = at_latent(unit, unit.mask, call.size).to(call.inputs.x.device)
        return softened(self.fitted[key], strengths(doses))


def within_mask(unit: ActiveUnit, dose: RowWeight, picture: Image.Image, changed: Image.Image) -> Image.Image:
    """A changed picture where a unit's mask is white, at its strength, and the picture elsewhere."""
    if unit.mask is None:
        return changed
    mask = torch.from_numpy(at_pixels(unit, unit.mask, *picture.size))
    share = softened(mask, dose.strength).numpy()
    return Image.fromarray(mixed(pixels_of(changed), pixels_of(picture), share))


def at_latent(unit: ActiveUnit, mask: Image.Image, size: Size) -> Tensor:
    """A unit's mask [1, 1, h, w] in 0..1 for a latent of this height and width."""
    height, width = (side * LATENT_FACTOR for side in size)
    return by_area(at_pixels(unit, mask, width, height), size)


def at_pixels(unit: ActiveUnit, mask: Image.Image, width: int, height: int) -> NDArray[np.float32]:
    """A unit's mask [height, width] in 0..1, feathered."""
    return Frame(unit.spec.resize_mode, unit.crop).mask(mask, width, height, unit.spec.mask_feather)


class UnitEffect(Protocol):
    """One way of acting, with what it needs during a call. A session has one of each that it needs.

    `control` is the protocol of the controls that act in this way.
    """

    control: ClassVar[type]

    def __init__(self, masks: Masks) -> None: ...

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Put the hooks on that it needs beside the port's own; all go through `hooks`."""

    def begin(
        self, call: UNetCall, acting: Sequence[ActingUnit], classes: Sequence[int] | None
    ) -> Residuals | None:
        """Start of a call: set up what the hooks do; the residuals that the port is to add, if any.

        `classes`, if given, says of each row which row has the same inputs. `acting` may be empty.
        """

    def end(self) -> None:
        """End of a call, also after an error."""

    def close(self) -> None:
        """End of the session."""


def control_of(unit: ActiveUnit, kind: type[Kind]) -> Kind:
    """A unit's control as one of the protocol by which the session chose the units of an effect.

    Raises TypeError for a control of another kind.
    """
    if not isinstance(unit.control, kind):
        raise TypeError(f"{type(unit.control).__name__} is no {kind.__name__}")
    return unit.control
