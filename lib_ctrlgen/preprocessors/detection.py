"""Runs a preprocessor on a unit's picture, at the generation's size or at another resolution."""

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


def params_of(chosen: Preprocessor) -> tuple[Param, ...]:
    """A preprocessor's parameters, and `resolution` if it detects something."""
    return (*chosen.params, RESOLUTION) if chosen.detects else chosen.params


def own_values(chosen: Preprocessor, params: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a unit's `params` that belong to the preprocessor."""
    return {param.name: params[param.name] for param in params_of(chosen) if param.name in params}


def detected(
    chosen: Preprocessor,
    picture: Image.Image,
    frame: Frame,
    size: tuple[int, int],
    values: Mapping[str, Any],
) -> Image.Image:
    """The RGB control map of a picture at a size (width, height) in pixels.

    The picture is fitted by the unit's resize mode (`frame`) and preprocessed at this size. With `resolution`
    it is preprocessed at another size of the same proportions, and the map is resized. `values` are the
    preprocessor's parameters.
    """
    own = dict(values)
    at = detection_size(size, int(own.pop(RESOLUTION.name, RESOLUTION.default)))
    fitted = frame.fitted(picture, *at, resample if chosen.reads_map else smooth)
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
