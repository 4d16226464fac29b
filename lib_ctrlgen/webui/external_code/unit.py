"""The unit class of sd-webui-controlnet, as other extensions make, change and compare it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar, TypeAlias, TypeVar

from .enums import (
    ControlMode,
    ControlNetUnionControlType,
    HiResFixOption,
    InputMode,
    PuLIDMode,
    ResizeMode,
)

logger = logging.getLogger("ctrlgen")
Kind = TypeVar("Kind", bound=Enum)
Fields: TypeAlias = dict[str, Any]

ALIASES = {
    "guidance": "guidance_end",
    "lowvram": "low_vram",
    "input_image": "image",
    "mask_image": "mask",
}
OLD_RESIZE_MODES = {
    "Inner Fit (Scale to Fit)": "Crop and Resize",
    "Scale to Fit (Inner Fit)": "Crop and Resize",
    "Outer Fit (Shrink to Fit)": "Resize and Fill",
    "Envelope (Outer Fit)": "Resize and Fill",
}
LATENT_UPSCALE = 3  # the WebUI's resize mode "Just resize (latent upscale)"


def resize_mode_from_value(value: str | int | ResizeMode) -> ResizeMode:
    """The resize mode of a name (also of an earlier release) or of img2img's number, 3 being RESIZE.

    A larger number is RESIZE, with a warning. Raises ValueError for another text or a negative number.

    >>> resize_mode_from_value("Envelope (Outer Fit)").name, resize_mode_from_value(1).name
    ('OUTER_FIT', 'INNER_FIT')
    """
    if isinstance(value, str):
        return ResizeMode(OLD_RESIZE_MODES.get(value, value))
    if not isinstance(value, int):
        return value
    if value < 0:
        raise ValueError(f"resize mode {value}: the numbers are 0 to 3")
    if value > LATENT_UPSCALE:
        logger.warning("resize mode %d is unknown, 'Just Resize' is used", value)
    return list(ResizeMode)[value] if value < len(ResizeMode) else ResizeMode.RESIZE


def member_of(kind: type[Kind], value: Any) -> Any:
    """The member of an enumeration for its value or its number; a member is returned as it is."""
    if isinstance(value, int):
        return list(kind)[value]
    return kind(value) if isinstance(value, str) else value


@dataclass(init=False)
class ControlNetUnit:
    """A unit of sd-webui-controlnet 1.1.455, whose attributes may be changed.

    `image` is an array [H, W, C], base64, `{"image": ..., "mask": ...}`, a pair of them, or a list of
    dicts. Texts and numbers of modes are turned into members of the enumerations. Unknown fields are ignored
    with a warning. Raises ValueError for a mode that does not exist.
    """

    is_ui: bool = False
    input_mode: InputMode = InputMode.SIMPLE
    batch_images: Any = None
    output_dir: str = ""
    loopback: bool = False

    enabled: bool = False
    module: str = "none"
    model: str = "None"
    weight: float = 1.0
    image: Any = None
    resize_mode: ResizeMode = ResizeMode.INNER_FIT
    low_vram: bool = False
    processor_res: int = -1
    threshold_a: float = -1
    threshold_b: float = -1
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: ControlMode = ControlMode.BALANCED
    inpaint_crop_input_image: bool = True
    hr_option: HiResFixOption = HiResFixOption.BOTH
    save_detected_map: bool = True
    advanced_weighting: list[float] | None = None
    effective_region_mask: Any = None
    pulid_mode: PuLIDMode = PuLIDMode.FIDELITY
    union_control_type: ControlNetUnionControlType = ControlNetUnionControlType.UNKNOWN
    ipadapter_input: list[Any] | None = None
    mask: Any = None

    batch_mask_dir: str | None = None
    animatediff_batch: bool = False
    batch_modifiers: list[Any] = field(default_factory=list)
    batch_image_files: list[Any] = field(default_factory=list)
    batch_keyframe_idx: Any = None

    kinds: ClassVar[Mapping[str, type[Enum]]] = {
        "input_mode": InputMode,
        "control_mode": ControlMode,
        "hr_option": HiResFixOption,
        "pulid_mode": PuLIDMode,
        "union_control_type": ControlNetUnionControlType,
    }

    def __init__(self, **given: Any) -> None:
        values = {**defaults(), **self.known(given)}
        values["resize_mode"] = resize_mode_from_value(values["resize_mode"])
        for name, kind in self.kinds.items():
            values[name] = member_of(kind, values[name])
        values["module"] = "none" if values["module"] is None else values["module"]
        values["model"] = "None" if values["model"] is None else values["model"]
        vars(self).update(values)

    @classmethod
    def known(cls, given: Mapping[str, Any]) -> Fields:
        """The fields among `given`, with aliases renamed; the name of the field wins over its alias."""
        names = {one.name for one in fields(cls)}
        unknown = [name for name in given if name not in names and name not in ALIASES]
        if unknown:
            logger.warning("ControlNetUnit has no field %s: ignored", ", ".join(map(repr, unknown)))
        renamed = {ALIASES[name]: value for name, value in given.items() if name in ALIASES}
        return renamed | {name: value for name, value in given.items() if name in names}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ControlNetUnit:
        """A unit of a REST body; without `enabled` it acts if it names a preprocessor or a model."""
        named = any(str(values.get(name) or "none").lower() != "none" for name in ("module", "model"))
        return cls(**{"enabled": named, **values})

    def dict(self) -> Fields:
        """All fields by name, as pydantic's models return them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> ControlNetUnit:
        """A copy with some attributes changed, as pydantic's models make it."""
        made = copy.deepcopy(self) if deep else copy.copy(self)
        vars(made).update(update or {})
        return made

    @property
    def is_animate_diff_batch(self) -> bool:
        """Whether AnimateDiff set the unit to one picture for each frame."""
        return self.animatediff_batch

    @property
    def is_inpaint(self) -> bool:
        """Whether the preprocessor is one of those that paint a hole anew."""
        return "inpaint" in self.module


UiControlNetUnit = ControlNetUnit


def defaults() -> Fields:
    """The default of every field; lists are new ones."""
    plain = ControlNetUnit.__dataclass_fields__.values()
    return {
        one.name: one.default_factory() if callable(one.default_factory) else one.default for one in plain
    }
