"""The control maps of a running generation, as other extensions read and assign them.

The script titled "ControlNet" has an attribute `latest_network`, which is None between generations.
TiledDiffusion and AnimateDiff read `latest_network.control_params[i].hint_cond` and assign other control maps
to it before each call of the U-Net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from modules import shared
from torch import Tensor

from lib_ctrlgen.controls.assigned_map import ReadsMap, map_channels
from lib_ctrlgen.controls.unit import ActiveUnit, of_batch
from lib_ctrlgen.session.assigned_maps import AssignedMaps
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.webui.external_code.enums import ControlModelType, HiResFixOption
from lib_ctrlgen.webui.external_code.running_network import publish

TYPES = {
    "controlnet": ControlModelType.ControlNet,
    "controlnet_union": ControlModelType.ControlNetUnion,
    "control_lora": ControlModelType.ControlLoRA,
    "instant_id": ControlModelType.InstantID,
    "t2i_adapter": ControlModelType.T2I_Adapter,
    "lllite": ControlModelType.Controlllite,
}


@dataclass(frozen=True)
class OwnMaps:
    """A unit's own maps, and how often they had been changed in place when they were made."""

    maps: Tensor
    version: int

    def are(self, maps: Tensor) -> bool:
        """Whether these are the same maps, unchanged."""
        return maps is self.maps and maps._version == self.version


class ControlParams:
    """What other extensions read of one unit, and its control maps, which they may assign.

    `hint_cond` and `hr_hint_cond` are the maps [B, C, H, W] in 0..1 of the first pass and of the hires pass,
    with -1 in holes; the second is None without hires fix. B is 1, or the number of rows where each picture
    of the batch has a map of its own. Assigned maps are used from the next call of the U-Net on, until
    others are assigned or the pass ends; assigning the maps that were read first, unchanged, makes the unit
    use its own again.
    """

    def __init__(self, p: Any, assigned: AssignedMaps, units: Sequence[ActiveUnit]) -> None:
        self.p, self.assigned, self.units = p, assigned, tuple(units)
        spec = self.units[0].spec
        self.control_model = cast("Any", self.units[0].control).model
        self.control_model_type = TYPES[self.control_model.name]
        self.preprocessor = {"name": spec.preprocessor_label, **dict(spec.params)}
        self.weight = spec.weight
        self.guidance_stopped = False
        self.start_guidance_percent, self.stop_guidance_percent = spec.guidance_start, spec.guidance_end
        self.advanced_weighting: Any = None
        self.global_average_pooling = bool(getattr(self.control_model, "pooled", False))
        self.soft_injection = spec.control_mode != "balanced"
        self.cfg_injection = spec.control_mode == "control"
        self.hr_option = HiResFixOption.BOTH
        self.effective_region_mask: Any = None
        self._own: dict[tuple[bool, tuple[int, int]], OwnMaps] = {}
        self._assigned: dict[bool, Tensor] = {}
        self._now = (0, False)

    @property
    def hint_cond(self) -> Tensor:
        """The control maps of the first pass."""
        return cast("Tensor", self._maps(hires=False))

    @hint_cond.setter
    def hint_cond(self, maps: Tensor) -> None:
        self._assign(maps, hires=False)

    @property
    def hr_hint_cond(self) -> Tensor | None:
        """The control maps of the hires pass, None without one."""
        return self._maps(hires=True)

    @hr_hint_cond.setter
    def hr_hint_cond(self, maps: Tensor | None) -> None:
        self._assign(maps, hires=True)

    def _maps(self, *, hires: bool) -> Tensor | None:
        self._begin_pass()
        return self._assigned.get(hires, self._own_maps(hires=hires))

    def _begin_pass(self) -> None:
        """Forget what was assigned in another pass, and in another batch also the maps of its pictures."""
        now = int(getattr(self.p, "iteration", 0)), bool(getattr(self.p, "is_hr_pass", False))
        if now != self._now:
            self._assigned.clear()
        if now[0] != self._now[0]:
            self._own.clear()
        self._now = now

    def _own_maps(self, *, hires: bool) -> Tensor | None:
        """The unit's own maps at the pass's size, computed when they are read for the first time."""
        size = pass_size(self.p, hires=hires)
        units = of_batch(self.units, self._now[0], int(self.p.batch_size))
        if size is None or not units:
            return None
        if (hires, size) not in self._own:
            own = own_maps(self.p, units, size)
            self._own[hires, size] = OwnMaps(own, own._version)
        return self._own[hires, size].maps

    def _assign(self, maps: Tensor | None, *, hires: bool) -> None:
        self._begin_pass()
        index = self.units[0].index
        self._own_maps(hires=hires)
        if maps is None or any(own.are(maps) for own in self._own.values()):
            self._assigned.pop(hires, None)
            self.assigned.drop(index, hires=hires)
        else:
            self._assigned[hires] = maps
            self.assigned.assign(index, maps, hires=hires)


@dataclass(frozen=True)
class LatestNetwork:
    """The units of a running generation whose networks read control maps, in the order of the request."""

    control_params: list[ControlParams]


def pass_size(p: Any, *, hires: bool) -> tuple[int, int] | None:
    """Width and height of a pass in pixels, None for the hires pass of a generation without one."""
    if not hires:
        return whole_cells(p.width), whole_cells(p.height)
    if not getattr(p, "enable_hr", False) or not getattr(p, "hr_upscale_to_x", 0):
        return None  # the WebUI computes the size after the scripts have read their arguments
    return whole_cells(p.hr_upscale_to_x), whole_cells(p.hr_upscale_to_y)


def whole_cells(side: float) -> int:
    """The pixels of a side that the latent has."""
    return int(side) // LATENT_FACTOR * LATENT_FACTOR


def own_maps(p: Any, units: Sequence[ActiveUnit], size: tuple[int, int]) -> Tensor:
    """The maps of a unit: one for all rows, or one for each row of the batch."""
    maps = [own_map(unit, size) for unit in units]
    if all(unit.pictures is None for unit in units):
        return maps[0]
    pictures = [blank_or(maps, units, picture) for picture in range(int(p.batch_size))]
    times = 2 if shared.opts.data.get("batch_cond_uncond", True) else 1
    with torch.inference_mode(False):
        return torch.cat(pictures * times)


def own_map(unit: ActiveUnit, size: tuple[int, int]) -> Tensor:
    """The map [1, C, H, W] of one unit, which may be changed."""
    control = cast("ReadsMap", unit.control)
    pixels = control.map.pixels(*size, map_channels(control))
    with torch.inference_mode(False):  # in the other mode a tensor does not count its changes
        return pixels.clone()


def blank_or(maps: Sequence[Tensor], units: Sequence[ActiveUnit], picture: int) -> Tensor:
    """The map of one picture of the batch; zeros if none of the units acts on it."""
    found = [shown for shown, unit in zip(maps, units, strict=True) if unit.sees(picture)]
    return found[0] if found else torch.zeros_like(maps[0])


def latest_network(p: Any, units: Sequence[ActiveUnit], assigned: AssignedMaps) -> LatestNetwork:
    """Those of a generation's units whose networks read control maps; `assigned` takes what is assigned."""
    groups: dict[int | str, list[ActiveUnit]] = {}
    for unit in units:
        if isinstance(unit.control, ReadsMap):
            groups.setdefault(unit.index, []).append(unit)
    return LatestNetwork([ControlParams(p, assigned, own) for own in groups.values()])


@contextmanager
def published(p: Any, network: LatestNetwork) -> Iterator[None]:
    """Publish a generation's network for one batch too, since a generation inside it may have ended that.

    It stays until the end of the generation, or until an error ends the batch.
    """
    publish(p, network)
    try:
        yield
    except BaseException:
        publish(p, None)
        raise
