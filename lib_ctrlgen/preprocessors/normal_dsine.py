"""Surface normals by DSINE (Bae and Davison 2024, Rethinking Inductive Biases for Surface Normals)."""

from __future__ import annotations

from math import radians, tan
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.request.params import Param

from .base import Comparison
from .dsine_network import dsine_network
from .network import (
    MEAN,
    SPREAD,
    NetworkPreprocessor,
    Pixels,
    PublishedNetwork,
    batch_of,
    fractions,
    grey_levels,
    normalised,
    padded,
)


class NormalDsine(NetworkPreprocessor):
    """Surface normals as colours, of a picture by a camera with a known field of view."""

    name: ClassVar[str] = "normal_dsine"
    title: ClassVar[str] = "Surface normals, DSINE (normal_dsine)"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="fov",
            label="Field of view (degrees)",
            kind="float",
            default=60.0,
            minimum=0.0,
            maximum=360.0,
            step=0.1,
            info="Photographs have 30 to 90. 0 is a view without perspective; no camera has 180 or more.",
        ),
        Param(name="iterations", label="Iterations", kind="int", default=5, minimum=1, maximum=20, step=1),
    )
    union_type: ClassVar[str] = "normal"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="dsine.pt", build=dsine_network)

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the control map of an RGB picture. Raises ModelError without weights or a needed package.

        The camera's axis meets the middle of the picture. sd-webui-controlnet computes the camera for the
        picture's size before it is resized, so that its normals depend on the size of the file.
        """
        pixels = pixels_of(image)
        found = self.detect(padded(pixels), size=pixels.shape[:2], **params)
        return Image.fromarray(np.ascontiguousarray(found[: pixels.shape[0], : pixels.shape[1]]))

    def detect(
        self,
        pixels: Pixels,
        *,
        size: tuple[int, ...] = (),
        fov: float = 60.0,
        iterations: int = 5,
        **params: Any,
    ) -> Pixels:
        """Normals, as colours, of the upper left `size` (height, width) of `pixels`: -1..1 is 0..255."""
        del params
        height, width = size or pixels.shape[:2]
        slope = tan(radians(fov / 2)) * 2 / max(height, width)
        with self.loaded(self.network) as (network,):
            x = batch_of(normalised(fractions(pixels), MEAN, SPREAD), self.device)
            normals = network(x, (width / 2, height / 2), slope, iterations)[0].permute(1, 2, 0)
        return grey_levels((normals.cpu().numpy() + 1) / 2)
