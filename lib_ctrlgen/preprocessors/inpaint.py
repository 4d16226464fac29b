"""Painting a picture's holes: the picture is the map, and what is transparent in it is the hole."""

from __future__ import annotations

from typing import ClassVar

from lib_ctrlgen.request.params import Param

from .none import NoPreprocessor


class Inpaint(NoPreprocessor):
    """Holes are marked in the map, and nothing more: the rest may change, too."""

    name: ClassVar[str] = "inpaint"
    title: ClassVar[str] = "Inpaint, all in harmony (inpaint_global_harmonious)"


class InpaintOnly(NoPreprocessor):
    """The same, and what is outside the holes is kept (`lib_ctrlgen.controls.postprocess.inpaint_only`)."""

    name: ClassVar[str] = "inpaint_only"
    title: ClassVar[str] = "Inpaint the holes alone"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="border",
            label="Soft border of the hole, pixels",
            kind="int",
            default=7,
            minimum=0,
            maximum=64,
            step=1,
        ),
    )


class InpaintLama(InpaintOnly):
    """The same on holes that LaMa has filled."""

    name: ClassVar[str] = "inpaint_only+lama"
    title: ClassVar[str] = "Inpaint the holes alone, filled by LaMa first"
