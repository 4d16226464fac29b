"""What the conversion of units must know of the generation that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .unit import OldResizeMode

Family: TypeAlias = Literal["sd15", "sd2", "sdxl"]
# of img2img, by number
RESIZE_MODES: tuple[OldResizeMode, ...] = ("Just Resize", "Crop and Resize", "Resize and Fill", "Just Resize")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A txt2img or img2img generation of the WebUI.

    family          of the loaded checkpoint
    width, height   of the first pass, in pixels
    hires           whether a hires pass follows
    img2img         whether there are init pictures
    init_size       width and height of the first init picture
    resize_mode     img2img's "Resize mode": the number of an entry of `RESIZE_MODES`
    inpaint         whether there is an inpainting mask
    only_masked     whether "Only masked" is chosen, so that only the masked part is painted
    map_seed        seed plus variation seed of the first picture, modulo 2^32: the seed of `shuffle`
    ignore_mask     the setting `controlnet_ignore_noninpaint_mask`
    inpaint_blur    the setting `control_net_inpaint_blur_sigma`
    hires_early     whether the prompts of the hires pass are encoded before the first pass, as with the
                    setting `hires_fix_use_firstpass_conds` or the flags --medvram and --lowvram
    own_semantics   the setting `ctrlgen_controlnet_semantics`: units mean what CtrlGen's own units mean
    """

    family: Family
    width: int = 512
    height: int = 512
    hires: bool = False
    img2img: bool = False
    init_size: tuple[int, int] = (0, 0)
    resize_mode: int = 0
    inpaint: bool = False
    only_masked: bool = False
    map_seed: int = 0
    ignore_mask: bool = False
    inpaint_blur: int = 7
    hires_early: bool = False
    own_semantics: bool = False
