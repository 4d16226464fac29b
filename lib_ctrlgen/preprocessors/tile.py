"""Control maps for tile ControlNets: the picture itself, or the picture without its finest detail."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Preprocessor
from .none import NoPreprocessor

VARIATION = Param(
    name="variation",
    label="Variation: colours are kept over this many latent cells",
    kind="int",
    default=8,
    minimum=3,
    maximum=32,
    step=1,
)


class TileResample(Preprocessor):
    """The picture without detail smaller than `factor` pixels."""

    name: ClassVar[str] = "tile_resample"
    title: ClassVar[str] = "Tile, without fine detail"
    detects: ClassVar[bool] = False
    union_type: ClassVar[str] = "tile"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="factor",
            label="Down-sampling factor",
            kind="float",
            default=1.0,
            minimum=1.0,
            maximum=8.0,
            step=0.01,
        ),
    )

    def __call__(self, image: Image.Image, factor: float = 1.0, **params: Any) -> Image.Image:
        """Return an RGB picture shrunk `factor` times by area averaging and enlarged again (cubic)."""
        del params
        width, height = image.size
        small = max(1, int(width / factor)), max(1, int(height / factor))
        if small == image.size:
            return image
        pixels = cv2.resize(np.array(image.convert("RGB")), small, interpolation=cv2.INTER_AREA)
        return Image.fromarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC))


class TileColorFix(NoPreprocessor):
    """The picture unchanged. After each U-Net call its colours replace those of the predicted latent."""

    name: ClassVar[str] = "tile_colorfix"
    title: ClassVar[str] = "Tile, keeping the colours"
    params: ClassVar[tuple[Param, ...]] = (VARIATION,)
    reads_map: ClassVar[bool] = False
    union_type: ClassVar[str] = "tile"
    after_unet: ClassVar[str] = "lib_ctrlgen.controls.postprocess.colorfix:ColorFix"


class TileColorFixSharp(TileColorFix):
    """Like `TileColorFix`, with a blurred prediction on unconditional rows, which sharpens the picture."""

    name: ClassVar[str] = "tile_colorfix+sharp"
    title: ClassVar[str] = "Tile, keeping the colours, sharper"
    params: ClassVar[tuple[Param, ...]] = (
        VARIATION,
        Param(
            name="sharpness",
            label="Sharpness",
            kind="float",
            default=1.0,
            minimum=0.0,
            maximum=2.0,
            step=0.01,
        ),
    )
