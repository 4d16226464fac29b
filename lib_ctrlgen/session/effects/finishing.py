"""Changes of the finished pictures by units that acted in the last U-Net call, such as recolor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from PIL import Image

from lib_ctrlgen.controls.protocols import FinishingControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.row_weights import RowWeight
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort

from .base import ActingUnit, Masks, within_mask


class FinishingEffect:
    """Records which units act on each picture in its last call, and changes the finished pictures by them."""

    control: ClassVar[type] = FinishingControl

    def __init__(self, masks: Masks) -> None:
        del masks  # they have the latent's size; a finished picture needs its own
        self.last: dict[int, list[tuple[ActiveUnit, RowWeight]]] = {}

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Install nothing: the U-Net is not changed."""

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Record the units that would change each picture of the call if this were its last call."""
        for row, names in enumerate(call.names):
            weights = [(each.unit, each.row_weights[row]) for each in acting]
            found = [(unit, own) for unit, own in weights if own and (own.weight > 0 or unit.spec.semantics)]
            self.last.update({name.image: found for name in names})

    @property
    def acts(self) -> bool:
        """Whether some picture's last call so far had a unit that changes it when it is finished."""
        return any(self.last.values())

    def finished(self, image: int, picture: Image.Image) -> Image.Image:
        """The finished picture number `image`, RGB of the same size, after its units, within their masks."""
        for unit, weight in self.last.get(image, ()):
            if isinstance(unit.control, FinishingControl):
                picture = within_mask(unit, weight, picture, unit.control.finished(picture))
        return picture

    def end(self) -> None:
        """Keep the record: pictures are finished after their last call."""

    def close(self) -> None:
        """Keep the record: pictures are finished after the session is closed."""
