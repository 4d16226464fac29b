"""Which control maps a generation appends to its pictures, by the settings and the units' own switches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modules import shared

from lib_ctrlgen.webui.settings import appends_maps

if TYPE_CHECKING:
    from lib_ctrlgen.webui.sampling.maps import MapOrder
    from lib_ctrlgen.webui.sampling.method_patch import SamplePatch

NO_MAPS = "control_net_no_detectmap"
CELL = 8  # pixels of a latent's cell


def map_order(p: Any, patch: SamplePatch) -> MapOrder:
    """The maps to append. The setting of sd-webui-controlnet decides about units in its form."""
    from lib_ctrlgen.webui.sampling.maps import MapOrder  # imports the controls

    wanted = not shared.opts.data.get(NO_MAPS, False)
    low = int(p.width) // CELL * CELL, int(p.height) // CELL * CELL
    hires = bool(getattr(p, "enable_hr", False)) and not hasattr(p, "init_images")
    return MapOrder(
        own=appends_maps(),
        further=tuple(wanted and unit.save_detected_map for unit in patch.further),
        first=patch.places.own,
        low=low if hires else None,
    )
