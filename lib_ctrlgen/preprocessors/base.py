"""What a preprocessor is: a picture in, the control map out, at the same size."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from PIL import Image

from lib_ctrlgen.request.params import Param

Comparison: TypeAlias = Literal["edges", "structure"]


class Preprocessor(Protocol):
    """One preprocessor per file. It runs at the generation's own size, unless `resolution` says otherwise.

    `compared` says how the tuner compares two of its maps (`tuner.scoring.map_likeness`); None: not at all.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]
    compared: ClassVar[Comparison | None]

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Turn an RGB picture into an RGB control map of the same size."""
