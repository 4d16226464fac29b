"""Preprocessors for inpainting networks: the picture is the map; its transparent area is generated anew."""

from __future__ import annotations

from typing import ClassVar

from lib_ctrlgen.request.params import Param

from .none import NoPreprocessor


class Inpaint(NoPreprocessor):
    """The map marks the hole, and the network does the rest; the area outside may change too."""

    name: ClassVar[str] = "inpaint"
    title: ClassVar[str] = "Inpaint; the rest may change (inpaint_global_harmonious)"
    reads_map: ClassVar[bool] = False
    marks_holes: ClassVar[bool] = True
    union_type: ClassVar[str] = "inpaint"


class InpaintOnly(Inpaint):
    """Like `Inpaint`, and the area outside the hole stays as it is in the picture."""

    name: ClassVar[str] = "inpaint_only"
    title: ClassVar[str] = "Inpaint only the holes"
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
    after_unet: ClassVar[str] = "lib_ctrlgen.controls.postprocess.inpaint_only:InpaintOnly"


class InpaintLama(InpaintOnly):
    """Like `InpaintOnly`, with the hole filled by LaMa before it is encoded and noised."""

    name: ClassVar[str] = "inpaint_only+lama"
    title: ClassVar[str] = "Inpaint only the holes, which LaMa fills first"
    after_unet: ClassVar[str] = "lib_ctrlgen.controls.postprocess.inpaint_only:LamaInpaint"
