"""How sd-webui-controlnet 1.1.455 carries a unit out, where that differs from CtrlGen's own way.

A request in sd-webui-controlnet's form is converted to units with this, so that it makes the same picture.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .base import Spec

MOST_PIXELS = 8192


class ControlNetSemantics(Spec, frozen=True, kw_only=True):
    """Carries a unit out as sd-webui-controlnet 1.1.455 does.

    Its window includes both ends and follows the steps that the WebUI has reported as finished, so it is a
    step late. The preprocessor runs on the picture in its own proportions, once for both passes, and its map
    is fitted to each pass. On SDXL, the soft weights of `prompt` and `control` end at 0.561 instead of 1; in
    the hires pass, the maps of canny and mlsd get soft weights in every mode. Colours and pixels that
    `tile_colorfix` and `inpaint_only` keep are kept at every step.

    resolution  short side in pixels at which the preprocessor runs; 0 for the picture's own
    weight      of what `tile_colorfix` and `inpaint_only` do after the U-Net, in every step of both passes
    all_cond    whether every row of the hires pass counts as conditional, because sd-webui-controlnet cannot
                tell them apart there (it can with the WebUI's settings that encode its prompts early)
    union_type  the type of the map for a ControlNet Union, such as `depth`; empty for no type
    """

    resolution: Annotated[int, Meta(ge=0, le=MOST_PIXELS)] = 0
    weight: Annotated[float, Meta(ge=0, le=2)] = 1.0
    all_cond: bool = False
    union_type: str = ""


def reported_progress(call: int, calls: int) -> float:
    """The progress that the WebUI reports at U-Net call number `call` of `calls`, one for each step.

    It is the number of the last finished step over that of all steps, so the first two calls report 0.

    >>> [reported_progress(call, 4) for call in range(4)]
    [0.0, 0.0, 0.25, 0.5]
    """
    return max(0, call - 1) / calls


def acts_at(reported: float, start: float, end: float) -> bool:
    """Whether a unit with this window acts at a reported progress: both ends belong to the window.

    >>> sum(acts_at(reported_progress(call, 20), 0, 0.5) for call in range(20))
    12
    """
    return start <= reported <= end
