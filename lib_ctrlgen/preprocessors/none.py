"""The picture is the control map already."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image

from lib_ctrlgen.request.params import Param

from .base import Comparison


class NoPreprocessor:
    """Returns the picture as it is."""

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "None (the picture is a control map)"
    params: ClassVar[tuple[Param, ...]] = ()
    compared: ClassVar[Comparison | None] = None

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the picture unchanged."""
        del params
        return image
