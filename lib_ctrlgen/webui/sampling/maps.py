"""The control maps that are appended to the pictures of a generation, and their order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from lib_ctrlgen.controls.own_layers import ReferenceControl
from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.controls.unit import ActiveUnit, sees_picture
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image


@dataclass(frozen=True, kw_only=True)
class MapOrder:
    """Which control maps are wanted.

    own      whether those of CtrlGen's own units
    further  for each unit in the form of sd-webui-controlnet, whether its maps; all after unit `first`
    first    the index of the first such unit in the request
    low      width and height of the first pass, if a hires pass followed
    """

    own: bool = True
    further: tuple[bool, ...] = ()
    first: int = sys.maxsize
    low: tuple[int, int] | None = None


def maps_of(units: Sequence[ActiveUnit], order: MapOrder, size: tuple[int, int]) -> list[Image.Image]:
    """The maps of loaded units in their order; `size` (width, height) is that of the last pass.

    Of units in the form of sd-webui-controlnet they are what it appends: of each unit the map of the hires
    pass and then that of the first pass, or the pictures that an image encoder read.
    """
    found: list[Image.Image] = []
    for number, unit in enumerate(units):
        if unit.concept is not None or not isinstance(unit.index, int):
            continue
        if unit.index < order.first:
            found += _map(unit, size) if order.own else []
        elif order.further[unit.index - order.first]:
            begun = any(each.index == unit.index for each in units[:number])
            found += _appended_maps(unit, size, order.low, begun=begun)
    return found


def _map(unit: ActiveUnit, size: tuple[int, int]) -> list[Image.Image]:
    control = unit.control
    shows = isinstance(control, MappedControl) and not sees_picture(control)
    return [control.control_map(*size)] if shows and isinstance(control, MappedControl) else []


def _appended_maps(
    unit: ActiveUnit, size: tuple[int, int], low: tuple[int, int] | None, *, begun: bool
) -> list[Image.Image]:
    """The maps of one unit; `begun` is whether another control of the same unit came before."""
    control = unit.control
    mapped = isinstance(control, ReferenceControl) or not sees_picture(control)
    if isinstance(control, MappedControl) and mapped:
        return [control.control_map(*each) for each in (size, low) if each is not None]
    return [] if begun else list(_pictures(unit))


def _pictures(unit: ActiveUnit) -> Iterator[Image.Image]:
    spec = unit.spec
    texts = [spec.image, *spec.images, *(each.image for each in spec.references)]
    yield from (to_rgb(decode_image(text, "")) for text in texts if text)
