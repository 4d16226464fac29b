"""Saves the control maps of a generation in a folder of their own, if the setting says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .settings import maps_folder

if TYPE_CHECKING:
    from .sampling.method_patch import SamplePatch

NAME = "control-map"


def save_maps(p: Any, patch: SamplePatch) -> None:
    """Save the map of every unit, each with the number that the WebUI gives to files."""
    folder = maps_folder()
    if not folder:
        return
    from modules import images

    from .sampling.maps import MapOrder  # imports the controls

    place = Path(p.outpath_samples) / folder  # a whole path replaces the one before it
    order = MapOrder(further=tuple(True for _ in patch.further), first=patch.places.own)
    for image in patch.control_maps(order):
        images.save_image(image, str(place), NAME, save_to_dirs=False)
