"""One unit of a generation that asks a ControlNet for residuals."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals

from .network import ControlNetwork, NetworkInputs


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedControlNet:
    """A unit with a network of its own or with one that it shares: see `ControlNetwork.together`."""

    model: ControlNetwork
    map: ControlMap

    @property
    def cond_only(self) -> bool:
        """Shuffle acts on conditional rows alone, as it was trained."""
        return self.model.pooled

    def residuals(self, call: UNetCall) -> Residuals:
        """Raw residuals for exactly the rows of `call`: 12 x [B, C, h, w] and the middle, on SD1.5."""
        (found,) = self.model.together([self.part(call)])
        return found

    def part(self, call: UNetCall) -> NetworkInputs:
        """The same as a part of a call for several units."""
        return NetworkInputs(call=call, hint=self.model.hint(self.map, call.size))

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the network sees: the picture fitted to the size, then preprocessed. RGB."""
        return self.map.shown(width, height)
