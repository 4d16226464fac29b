"""White becomes black: for line drawings on paper."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image, ImageOps

from lib_ctrlgen.request.params import Param

from .base import Comparison


class Invert:
    """Inverts every channel."""

    name: ClassVar[str] = "invert"
    title: ClassVar[str] = "Invert"
    params: ClassVar[tuple[Param, ...]] = ()
    compared: ClassVar[Comparison | None] = "structure"

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the negative of an RGB picture."""
        del params
        return ImageOps.invert(image.convert("RGB"))
