"""What a way of acting on a U-Net provides, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor

from lib_ctrlgen.calls import LATENT_FACTOR, UNetCall
from lib_ctrlgen.doses import Dose, strengths
from lib_ctrlgen.images import fit, to_mask
from lib_ctrlgen.residuals import Residuals, softened
from lib_ctrlgen.unet import Hooks, UNetPort
from lib_ctrlgen.units import ActiveUnit

Doses: TypeAlias = Sequence[Dose | None]
Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ActingUnit:
    """A unit that acts in a call, and what each row of it gets; some row gets something.

    `joined` are, for several units that act as one, the numbers of them and the weights that went into
    what their network sees.
    """

    unit: ActiveUnit
    doses: Doses
    joined: tuple[tuple[int | str, float], ...] = ()

    @property
    def name(self) -> tuple[int | str, ...]:
        """The unit, or the units that act as one."""
        return tuple(index for index, _ in self.joined) or (self.unit.index,)


@dataclass
class Masks:
    """The units' masks at the sizes that were asked for, while a session is open."""

    fitted: dict[tuple[int | str, Size, torch.device], Tensor] = field(default_factory=dict)

    def of(self, unit: ActiveUnit, doses: Doses, call: UNetCall) -> Tensor | None:
        """A unit's mask [1 or B, 1, h, w] at the latent's size and the rows' strengths, on its device.

        It is fitted like the picture. None where the unit has none.
        """
        if unit.mask is None:
            return None
        key = (unit.index, call.size, call.inputs.x.device)
        if key not in self.fitted:
            height, width = call.size
            fitted = fit(unit.mask, width * LATENT_FACTOR, height * LATENT_FACTOR, unit.spec.resize_mode)
            self.fitted[key] = to_mask(fitted, height, width).to(call.inputs.x.device)
        return softened(self.fitted[key], strengths(doses))


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
