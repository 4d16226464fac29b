"""The negative of a picture, for line drawings on white paper."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image, ImageOps

from .base import Comparison, Preprocessor


class Invert(Preprocessor):
    """Inverts every channel."""

    name: ClassVar[str] = "invert"
    title: ClassVar[str] = "Invert"
    detects: ClassVar[bool] = False
    reads_map: ClassVar[bool] = True
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the negative of an RGB picture."""
        del params
        return ImageOps.invert(image.convert("RGB"))
