"""Lines of manga pages and of other drawings, without screentones and texture."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np

from .base import Comparison
from .manga_line import manga_network
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, array


class LineartAnimeDenoise(NetworkPreprocessor):
    """White lines of drawings; screentones, noise and texture are left out."""

    name: ClassVar[str] = "lineart_anime_denoise"
    title: ClassVar[str] = "Line art, anime without texture (lineart_anime_denoise)"
    union_type: ClassVar[str] = "lineart"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="erika.pth", build=manga_network)

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The network's lines in white on black; it sees the picture in grey."""
        del params
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)[..., None]
        return (255 - array(self.run(grey))).clip(0, 255).astype(np.uint8)
