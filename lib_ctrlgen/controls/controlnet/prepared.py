"""The prepared controls of ControlNets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from PIL import Image

from lib_ctrlgen.controls.assigned_map import AnyMap
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals

from .network import ControlNetwork, NetworkInputs


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkUnit(ABC):
    """A control whose network may be shared with other units (see `ControlNetwork.together`)."""

    model: ControlNetwork

    @abstractmethod
    def part(self, call: UNetCall) -> NetworkInputs:
        """The network's inputs for exactly the rows of `call`."""

    def residuals(self, call: UNetCall) -> Residuals:
        """The unweighted residuals for exactly the rows of `call`, [B, C, h, w] each; 13 on SD1.5."""
        (found,) = self.model.together([self.part(call)])
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedControlNet(NetworkUnit):
    """A ControlNet with a control map."""

    map: AnyMap

    @property
    def cond_only(self) -> bool:
        """Whether it acts on conditional rows only, as Shuffle networks do."""
        return self.model.pooled

    def part(self, call: UNetCall) -> NetworkInputs:
        """The network's inputs for exactly the rows of `call`."""
        return NetworkInputs(call=call, hint=self.model.hint(self.map, call.size))

    def control_map(self, width: int, height: int) -> Image.Image:
        """The unit's control map at this size in pixels, RGB."""
        return self.map.shown(width, height)
