"""The enumerations of sd-webui-controlnet 1.1.455, with its names, values and order.

>>> ResizeMode.OUTER_FIT.int_value(), ControlNetUnionControlType.from_str("lineart").value
(2, 'Hard Edge')
"""

from __future__ import annotations

from enum import Enum


class InputMode(Enum):
    """Where the pictures of a unit come from: one, a folder with one for each generation, or several."""

    SIMPLE = "simple"
    BATCH = "batch"
    MERGE = "merge"


class ControlMode(Enum):
    """Whether the prompt or the control is stronger."""

    BALANCED = "Balanced"
    PROMPT = "My prompt is more important"
    CONTROL = "ControlNet is more important"


class BatchOption(Enum):
    """How units and pictures of a batch belong together."""

    DEFAULT = "All ControlNet units for all images in a batch"
    SEPARATE = "Each ControlNet unit for each image in a batch"


class ResizeMode(Enum):
    """How the picture of a unit is fitted to the generation's size."""

    RESIZE = "Just Resize"
    INNER_FIT = "Crop and Resize"
    OUTER_FIT = "Resize and Fill"

    def int_value(self) -> int:
        """The number of this mode in the WebUI: 0, 1 or 2."""
        return list(ResizeMode).index(self)


class HiResFixOption(Enum):
    """The passes of hires fix in which a unit acts."""

    BOTH = "Both"
    LOW_RES_ONLY = "Low res only"
    HIGH_RES_ONLY = "High res only"


class PuLIDMode(Enum):
    """The presets of PuLID."""

    FIDELITY = "Fidelity"
    STYLE = "Extremely style"


class StableDiffusionVersion(Enum):
    """The family of a checkpoint."""

    UNKNOWN = 0
    SD1x = 1
    SD2x = 2
    SDXL = 3


class ControlNetUnionControlType(Enum):
    """The types of control maps that a ControlNet Union reads."""

    OPENPOSE = "OpenPose"
    DEPTH = "Depth"
    SOFT_EDGE = "Soft Edge"
    HARD_EDGE = "Hard Edge"
    NORMAL_MAP = "Normal Map"
    SEGMENTATION = "Segmentation"
    TILE = "Tile"
    INPAINT = "Inpaint"
    UNKNOWN = "Unknown"

    @staticmethod
    def all_tags() -> list[str]:
        """The control types of the page for which a Union can be used."""
        return [*TYPES_OF_TAGS]

    @staticmethod
    def from_str(text: str) -> ControlNetUnionControlType:
        """The type for a control type of the page, such as `lineart`; UNKNOWN for any other text."""
        tags = {**TYPES_OF_TAGS, "blur": ControlNetUnionControlType.TILE}
        return tags.get(text.lower(), ControlNetUnionControlType.UNKNOWN)

    def int_value(self) -> int:
        """The number of this type in the network. Raises ValueError for UNKNOWN."""
        if self is ControlNetUnionControlType.UNKNOWN:
            raise ValueError("the type 'Unknown' has no number")
        return list(ControlNetUnionControlType).index(self)


TYPES_OF_TAGS = {
    "openpose": ControlNetUnionControlType.OPENPOSE,
    "depth": ControlNetUnionControlType.DEPTH,
    "softedge": ControlNetUnionControlType.SOFT_EDGE,
    "scribble": ControlNetUnionControlType.SOFT_EDGE,
    "canny": ControlNetUnionControlType.HARD_EDGE,
    "lineart": ControlNetUnionControlType.HARD_EDGE,
    "mlsd": ControlNetUnionControlType.HARD_EDGE,
    "normalmap": ControlNetUnionControlType.NORMAL_MAP,
    "segmentation": ControlNetUnionControlType.SEGMENTATION,
    "inpaint": ControlNetUnionControlType.INPAINT,
    "tile": ControlNetUnionControlType.TILE,
}


class ControlModelType(Enum):
    """The kinds of control models. GLIGEN and MasaCtrl are names that sd-webui-controlnet never supported."""

    ControlNet = "ControlNet, Lvmin Zhang"
    T2I_Adapter = "T2I_Adapter, Chong Mou"
    T2I_StyleAdapter = "T2I_StyleAdapter, Chong Mou"
    T2I_CoAdapter = "T2I_CoAdapter, Chong Mou"
    MasaCtrl = "MasaCtrl, Mingdeng Cao"
    GLIGEN = "GLIGEN, Yuheng Li"
    AttentionInjection = "AttentionInjection, Lvmin Zhang"
    StableSR = "StableSR, Jianyi Wang"
    PromptDiffusion = "PromptDiffusion, Zhendong Wang"
    ControlLoRA = "ControlLoRA, Wu Hecong"
    ReVision = "ReVision, Stability"
    IPAdapter = "IPAdapter, Hu Ye"
    Controlllite = "Controlllite, Kohya"
    InstantID = "InstantID, Qixun Wang"
    SparseCtrl = "SparseCtrl, Yuwei Guo"
    ControlNetUnion = "ControlNetUnion, xinsir6"

    @property
    def is_controlnet(self) -> bool:
        """Whether it adds residuals as a ControlNet does."""
        kinds = ("ControlNet", "ControlLoRA", "InstantID", "ControlNetUnion")
        return self.name in kinds
