"""From a unit's picture to its map: at which size a preprocessor runs, and how the picture gets there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.resize import resample, smooth
from lib_ctrlgen.request.params import Param

from .base import Preprocessor

RESOLUTION = Param(
    name="resolution",
    label="Detection resolution (short side in pixels; 0: the generation's own)",
    kind="int",
    default=0,
    minimum=64,
    maximum=2048,
    step=8,
    off=0,
)
CELL = 8

# What these read is a map already.
MAPS = frozenset({"none", "invert"})
# These find nothing: they change pixel by pixel, or what they do is a matter of the generation's own size.
NOT_DETECTING = MAPS | {
    "blur_gaussian", "color", "inpaint", "inpaint_only", "inpaint_only+lama", "recolor_intensity",
    "recolor_luminance", "shuffle", "threshold", "tile_colorfix", "tile_colorfix+sharp", "tile_resample",
}  # fmt: skip


def params_of(chosen: Preprocessor) -> tuple[Param, ...]:
    """A preprocessor's parameters, with those that all have which find something in a picture."""
    return chosen.params if chosen.name in NOT_DETECTING else (*chosen.params, RESOLUTION)


def own_values(chosen: Preprocessor, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a unit's parameters that are the preprocessor's."""
    return {param.name: params[param.name] for param in params_of(chosen) if param.name in params}


def detected(
    chosen: Preprocessor,
    picture: Image.Image,
    frame: Frame,
    size: tuple[int, int],
    values: Mapping[str, Any],
) -> Image.Image:
    """The map of a picture at a size (width, height), RGB.

    The picture is fitted, then preprocessed: at this size, or with `resolution` at another one of the same
    proportions, from which the map is brought to this size. `values` are the preprocessor's parameters.
    """
    own = dict(values)
    at = detection_size(size, int(own.pop(RESOLUTION.name, RESOLUTION.default)))
    fitted = frame.fitted(picture, *at, resample if chosen.name in MAPS else smooth)
    found = chosen(fitted, **own)
    return found if at == size else Image.fromarray(resample(np.asarray(found), *size))


def detection_size(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """The size at which a preprocessor runs: its short side `resolution`, in cells of 8 pixels.

    >>> detection_size((1024, 1536), 512), detection_size((512, 768), 0)
    ((512, 768), (512, 768))
    """
    if not resolution:
        return size
    width, height = (max(1, round(side * resolution / min(size) / CELL)) * CELL for side in size)
    return width, height
