"""A control map that another program computed, in the place of a unit's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.models.loading import RGB

from .control_map import ControlMap

T = TypeVar("T")
Control = TypeVar("Control")
MASKED = RGB + 1  # the channels of a map with a mask of its holes


@dataclass(frozen=True, kw_only=True, eq=False)
class AssignedMap:
    """Control maps [B, C, H, W] in 0..1, one for each row of a call; nothing made of them is cached.

    C is 3 (RGB), 1 (brightness), or 4 (RGB and a mask which is 1 in holes).
    """

    maps: Tensor
    hole: ClassVar[float] = -1.0

    def pixels(self, width: int, height: int, channels: int = RGB) -> Tensor:
        """The network's input [B, channels, H, W]. Raises HostError for maps of another size or form."""
        maps = self.maps
        if maps.shape[1] == MASKED:
            mask = maps[:, RGB:]
            maps = maps[:, :RGB] * (1 - mask) + self.hole * mask
        if channels == 1:
            maps = maps.mean(1, keepdim=True)
        if tuple(maps.shape[1:]) != (channels, height, width):
            raise HostError(
                f"the assigned control map has the shape {list(self.maps.shape)}, "
                f"and {channels} channels of {width}x{height} pixels are needed"
            )
        return maps

    def kept(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` returns; it is not cached, since the maps may change at each call."""
        del key
        return compute()

    def key(self, width: int, height: int) -> tuple[Hashable, ...]:
        """A key for caches, which `kept` does not use."""
        return "assigned", width, height

    def shown(self, width: int, height: int) -> Image.Image:
        """The map of the first row, RGB."""
        pixels = self.pixels(width, height)[0].clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
        return Image.fromarray((pixels * 255).round().astype(np.uint8))


AnyMap: TypeAlias = ControlMap | AssignedMap


@runtime_checkable
class ReadsMap(Protocol):
    """A prepared control whose network reads a control map."""

    @property
    def map(self) -> AnyMap:
        """The control map."""


def with_map(control: Control, maps: Tensor) -> Control:
    """A copy of a control that uses these control maps [B, C, H, W], one per row of the U-Net's batch."""
    changed: Any = replace(cast("Any", control), map=AssignedMap(maps=maps))
    return cast("Control", changed)


def map_channels(control: ReadsMap) -> int:
    """The channels of the control map that a control's network reads: 3 or 1."""
    return int(cast("Any", control).model.map_channels)
