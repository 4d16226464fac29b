"""Control maps that another program assigns to units before a call of the U-Net, such as those of tiles.

TiledDiffusion computes a picture in tiles, and before each call assigns the parts of the control maps that
belong to the tiles of this call. AnimateDiff does so with those of some frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from lib_ctrlgen.controls.assigned_map import ReadsMap
from lib_ctrlgen.controls.own_layers import AlignedControl, PooledControl, ReferenceControl
from lib_ctrlgen.controls.protocols import AttentionControl, ContextControl, FinishingControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.unet.call import LATENT_FACTOR, UNetCall

from .effects.base import ActingUnit

IN_PARTS = (
    "another extension computes the picture in parts (tiles or frames), on which this unit cannot act: "
    "switch that extension off, or the unit"
)
# What reads rows of the batch other than its own.
CONNECTS_ROWS = (AlignedControl, ReferenceControl)
# What acts on a part of a picture as on the whole.
ANYWHERE = (AttentionControl, ContextControl, PooledControl, FinishingControl)


@dataclass
class AssignedMaps:
    """The assigned maps of a session: for a unit's index, those of the first pass and of the hires pass."""

    maps: dict[tuple[int | str, bool], Tensor] = field(default_factory=dict)

    def assign(self, index: int | str, maps: Tensor, *, hires: bool = False) -> None:
        """Let the unit use these maps [B or 1, C, H, W] in 0..1 from the next call on."""
        self.maps[index, hires] = maps

    def drop(self, index: int | str, *, hires: bool = False) -> None:
        """Let the unit use its own map again."""
        self.maps.pop((index, hires), None)

    def of(self, unit: ActiveUnit, call: UNetCall) -> Tensor | None:
        """The maps [B, C, H, W] of a call's rows, None where a unit uses its own.

        In the hires pass, maps of the first pass are used where no others were assigned. Raises HostError for
        maps of another size or number than the call's.
        """
        if not self.maps or not isinstance(unit.control, ReadsMap):
            return None
        found = self.maps.get((unit.index, False))
        if call.position.hires:
            found = self.maps.get((unit.index, True), found)
        if found is None:
            return None
        height, width = (side * LATENT_FACTOR for side in call.size)
        rows, size = int(found.shape[0]), tuple(found.shape[-2:])
        if found.ndim != 4 or size != (height, width) or rows not in (1, call.batch):
            raise HostError(
                f"{unit.path}: another extension assigned control maps of the shape {list(found.shape)} to a "
                f"call with {call.batch} rows of {width}x{height} pixels: choose another sampler, or switch "
                "that extension off"
            )
        return found.expand(call.batch, -1, -1, -1)

    def given(self, each: ActingUnit, call: UNetCall) -> ActingUnit:
        """The acting unit with its assigned maps.

        With them, and where another program splits the host's batch, residuals are computed at every call.
        """
        maps = self.of(each.unit, call)
        if maps is None and not call.position.regrouped:
            return each
        row_weights = [None if one is None else one.always for one in each.row_weights]
        return replace(each, maps=maps, row_weights=row_weights)

    def require(self, call: UNetCall, acting: Sequence[ActiveUnit]) -> None:
        """Raise RequestError if a unit that acts in a call cannot, since the picture is split.

        In tiles a unit can act if it has assigned maps or does not act at places of the picture, and has no
        mask. In a batch that is split otherwise, it can if it is for all pictures of the batch or has
        assigned maps, and if it does not connect rows.
        """
        position = call.position
        tiled = position.size not in (None, call.size)
        if not tiled and not position.regrouped:
            return
        for unit in acting:
            control, assigned = unit.control, self.of(unit, call) is not None
            anywhere = isinstance(control, ANYWHERE) and not isinstance(control, ReadsMap)
            able = assigned or (unit.pictures is None and not isinstance(control, CONNECTS_ROWS))
            if not able or (tiled and not assigned and not anywhere):
                raise RequestError(unit.path, IN_PARTS)
            if tiled and unit.mask is not None:
                raise RequestError(unit.path, f"{IN_PARTS}, or remove its mask")
