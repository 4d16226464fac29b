"""No preprocessing: the picture is the control map already."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image

from .base import Preprocessor


class NoPreprocessor(Preprocessor):
    """Returns the picture as it is."""

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "None (the picture is a control map)"
    detects: ClassVar[bool] = False
    reads_map: ClassVar[bool] = True

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the picture unchanged."""
        del params
        return image
