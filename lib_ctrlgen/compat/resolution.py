"""The resolution at which sd-webui-controlnet runs a unit's preprocessor."""

from __future__ import annotations

from .generation import Generation
from .modules import LEAST_RESOLUTION, MOST_RESOLUTION, Module
from .unit import ControlNetUnit, OldResizeMode

CELL = 8


def resolution_of(unit: ControlNetUnit, module: Module) -> int:
    """The short side in pixels, without "Pixel Perfect"; 0 for a preprocessor that works on the picture."""
    given = not module.fixed and LEAST_RESOLUTION <= unit.processor_res <= MOST_RESOLUTION
    return unit.processor_res if module.resolution and given else module.resolution


def pixel_perfect(picture: tuple[int, int], generation: Generation, resize_mode: OldResizeMode) -> int:
    """The short side of a picture (width, height) once it is fitted to the first pass.

    >>> pixel_perfect((100, 200), Generation(family="sd15"), "Crop and Resize")
    512
    >>> pixel_perfect((100, 200), Generation(family="sd15"), "Resize and Fill")
    256
    """
    target = (generation.width // CELL * CELL, generation.height // CELL * CELL)
    scales = [wanted / given for wanted, given in zip(target, picture, strict=True)]
    scale = min(scales) if resize_mode == "Resize and Fill" else max(scales)
    return max(1, round(scale * min(picture)))
