"""The resolution at which sd-webui-controlnet runs a unit's preprocessor."""

from __future__ import annotations

from .generation import Generation
from .modules import LEAST_RESOLUTION, MOST_RESOLUTION, Module
from .unit import ControlNetUnit, OldResizeMode


def resolution_of(
    unit: ControlNetUnit,
    module: Module,
    picture: tuple[int, int],
    resize_mode: OldResizeMode,
    generation: Generation,
) -> int:
    """The short side in pixels; 0 for a preprocessor that works on the picture as it is.

    `picture` is the width and height of the unit's picture.
    """
    if not module.resolution:
        return 0
    if unit.pixel_perfect:
        return pixel_perfect(picture, (generation.width // 8 * 8, generation.height // 8 * 8), resize_mode)
    within = LEAST_RESOLUTION <= unit.processor_res <= MOST_RESOLUTION
    return unit.processor_res if within and not module.fixed else module.resolution


def pixel_perfect(picture: tuple[int, int], target: tuple[int, int], resize_mode: OldResizeMode) -> int:
    """The short side of a picture (width, height) once it is fitted to a target (width, height).

    >>> pixel_perfect((100, 200), (512, 512), "Crop and Resize")
    512
    >>> pixel_perfect((100, 200), (512, 512), "Resize and Fill")
    256
    """
    scales = [wanted / given for wanted, given in zip(target, picture, strict=True)]
    scale = min(scales) if resize_mode == "Resize and Fill" else max(scales)
    return max(1, round(scale * min(picture)))
