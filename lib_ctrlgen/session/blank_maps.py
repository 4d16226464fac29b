"""Warns of control maps of one colour and of black masks, with which a unit has little or no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from PIL import Image

from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.controls.unit import ActiveUnit, sees_picture
from lib_ctrlgen.images.masks import BLACK
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.progress import SILENT, Progress, detecting

from .effects.base import at_latent

FLAT = 1  # the largest difference within a channel (0..255) at which a picture counts as one colour
NAMES: Mapping[tuple[int, ...], str] = MappingProxyType({(0, 0, 0): "black", (255, 255, 255): "white"})


def note_blanks(
    units: Sequence[ActiveUnit],
    latent: tuple[int, int],
    factor: int,
    notices: Notices,
    progress: Progress = SILENT,
) -> bool:
    """Add a warning to `notices` for each unit whose control map has one colour or whose mask is black.

    Maps and masks are made and checked at the size of the pass: `latent` is the height and width of its
    latent, `factor` the number of pixels per latent cell along a side. `progress` shows which map is made;
    when it says that the generation was stopped, no further map is. Returns whether all were made.
    """
    height, width = latent
    for unit in units:
        if progress.stopped():
            return False
        if isinstance(unit.control, MappedControl):
            with progress.shown(detecting(unit.spec.preprocessor_label, unit.index)):
                shown = unit.control.control_map(width * factor, height * factor)
            colour = only_colour(shown)
            if colour is not None:
                notices.add(unit.image_at, _blank_map(unit, colour))
        if unit.mask is not None and at_latent(unit, unit.mask, latent).max() < BLACK:
            message = "is black everywhere on what is generated, so the unit does nothing there"
            if unit.spec.mask_strength.bounds[0] >= 1:
                notices.add(unit.mask_at, message)
    return True


def only_colour(picture: Image.Image) -> tuple[int, ...] | None:
    """Return the RGB colour of a picture of one colour, None for a picture with several."""
    pixels = np.asarray(picture.convert("RGB"))
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    return None if (high - low).max() > FLAT else tuple(map(int, low))


def _blank_map(unit: ActiveUnit, colour: tuple[int, ...]) -> str:
    shown = NAMES.get(colour, f"of the colour {colour}")
    if sees_picture(unit.control):
        return f"the reference picture is {shown} everywhere"
    if unit.spec.preprocessor_label == "none":
        return f"the control map is {shown} everywhere: it says nothing about shapes"
    chosen = " and ".join(repr(stage.name) for stage in unit.spec.stages)
    return (
        f"the control map is {shown} everywhere: {chosen} finds nothing in the picture "
        "(look at its parameters, and at what the resize mode leaves of the picture)"
    )
