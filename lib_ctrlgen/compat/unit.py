"""A unit as sd-webui-controlnet 1.1.455 has it, after its aliases and spellings were read.

REST bodies, Python units of other extensions and infotexts of sd-webui-controlnet are all read into it by
`lib_ctrlgen.compat.reading`; `lib_ctrlgen.compat.conversion` turns such units into a `ControlRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

OldResizeMode: TypeAlias = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]
OldControlMode: TypeAlias = Literal["Balanced", "My prompt is more important", "ControlNet is more important"]
HiresOption: TypeAlias = Literal["Both", "Low res only", "High res only"]
PulidMode: TypeAlias = Literal["Fidelity", "Extremely style"]
UnionControlType: TypeAlias = Literal[
    "OpenPose",
    "Depth",
    "Soft Edge",
    "Hard Edge",
    "Normal Map",
    "Segmentation",
    "Tile",
    "Inpaint",
    "Unknown",
]
NO_MODULE = "none"
NO_MODEL = "None"
DEFAULT_NUMBER = -1.0  # of `processor_res` and the thresholds: the module's own default


@dataclass(frozen=True, kw_only=True)
class MaskedImage:
    """A unit's picture with its mask, each as a data URL or base64; empty for none.

    In the mask, white is the part to paint for modules that inpaint, and what an image encoder is not to see.
    For the other modules, a mask that is neither all black nor all white takes the place of the picture.
    """

    image: str
    mask: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlNetUnit:
    """One unit of sd-webui-controlnet, with its field names, its defaults and its spellings.

    images                 the pictures with their masks: none (img2img's own picture is used), one, or
                           several, for modules that take several
    module                 the preprocessor by its internal name
    model                  "stem [hash]", or "None"
    weight                 0..2
    processor_res, threshold_a, threshold_b   -1 for the module's own default
    guidance_start, guidance_end              0..1, both inclusive
    advanced_weighting     a weight for each residual (13 numbers for SD1.5, 10 for SDXL), or none
    effective_region_mask  where the unit acts: white; a data URL or base64
    ctrlgen_semantics      whether the unit means what CtrlGen's own units mean; by the setting when None
    ipadapter_input        saved features of an IP-Adapter's pictures instead of pictures: safetensors files
                           as base64
    """

    enabled: bool = True
    module: str = NO_MODULE
    model: str = NO_MODEL
    weight: float = 1.0
    images: tuple[MaskedImage, ...] = ()
    resize_mode: OldResizeMode = "Crop and Resize"
    low_vram: bool = False
    processor_res: int = -1
    threshold_a: float = DEFAULT_NUMBER
    threshold_b: float = DEFAULT_NUMBER
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: OldControlMode = "Balanced"
    inpaint_crop_input_image: bool = True
    hr_option: HiresOption = "Both"
    save_detected_map: bool = True
    advanced_weighting: tuple[float, ...] | None = None
    effective_region_mask: str = ""
    pulid_mode: PulidMode = "Fidelity"
    union_control_type: UnionControlType = "Unknown"
    ctrlgen_semantics: bool | None = None
    ipadapter_input: tuple[str, ...] = ()
