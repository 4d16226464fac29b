"""One unit of a request: a control model with its picture, weights, window and mask."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field
from msgspec.structs import force_setattr

from lib_ctrlgen.errors import RequestError

from .base import Spec, check_plain, check_share
from .box import MOST_BOXES, Box
from .catalogue import AUTO, check_name, control_names, without_model
from .encoder_names import encoder_name, understood
from .preprocessing import (
    Param,
    Preprocessing,
    PreprocessorStage,
    check_param_values,
    check_preprocessing,
    label_of,
    stages_of,
)
from .reference import Combine, Reference
from .schedule import Schedule, constant
from .semantics import ControlNetSemantics, acts_at, reported_progress

Unit01: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
ControlMode: TypeAlias = Literal["balanced", "prompt", "control"]
ResizeMode: TypeAlias = Literal["just_resize", "crop_and_resize", "resize_and_fill"]
ImageSource: TypeAlias = Literal["request", "init", "last"]
Feather: TypeAlias = Annotated[float, Meta(ge=0, le=256)]
Storage: TypeAlias = Literal["auto", "fp16", "bf16", "fp8", "int8"]
MOST_REFERENCES = 32
NO_PREPROCESSOR = "none"


def _full() -> Schedule:
    return constant(1.0)


def _check_pictures(one: str, picture: str, many: str, pictures: tuple[str, ...]) -> None:
    """Raise RequestError if both a single picture and a list are given, or a picture of the list is empty."""
    if picture and pictures:
        raise RequestError(many, f"is there beside {one!r}: give one of them")
    for number, each in enumerate(pictures):
        check_plain(f"{many}[{number}]", each)
        if not each:
            raise RequestError(f"{many}[{number}]", "is empty: send a picture as base64 or a data URL")


class ControlUnit(Spec, frozen=True, kw_only=True):
    """One control: a ControlNet, an IP-Adapter, ... Units stack; their effects add up.

    model            name of the control's file, as the model list shows it; empty for a `control` that has
                     no file
    image            the picture: base64 or a data URL (PNG, JPEG, WebP); or a pose: OpenPose JSON, as a text
                     or encoded in the same way
    images           instead of it, a picture for each picture of the batch, in their order
    image_from       `init`: the host's img2img picture, each picture's own, instead of a given one; `last`:
                     the last picture that this process of the WebUI made
    control          the family; `auto` finds it from the file's keys
    enabled          whether the unit acts at all
    preprocessor     turns the picture into the map that the network wants; several are applied from left to
                     right: `canny | invert`, or a list of names and of objects with `name` and `params`.
                     Or what reads the picture, by its name in sd-webui-controlnet: `ip-adapter-auto`, ...
    params           parameters of the preprocessor and of the control, by name
    weight           number or schedule text, see `lib_ctrlgen.request.schedule`
    hires            the weight in the hires pass of the WebUI; the same when absent
    guidance_start   first progress (0..1) at which the unit acts
    guidance_end     progress at which it stops acting (exclusive; 1 = to the end)
    control_mode     `balanced`; `prompt`: softer on coarse layers; `control`: the same
                     and on the conditional rows only
    resize_mode      how the picture is fitted to the generation's size
    inpaint_crop     where the host paints a part alone ("Only masked"): the picture and the mask show
                     the whole, and are cut to that part; else they show the part
    layer_weights    one number or schedule per layer, from the first encoder output to
                     the mid block (13 on SD1.5; a T2I-Adapter has 4, LLLite one per transformer
                     that it changes), instead of the mode's softness
    references       further references beside `image`, for IP-Adapters
    combine          how the references are combined: `concat` puts their tokens side by side, the others
                     combine their features before the projection to tokens
    boxes            what is to be where, for GLIGEN
    mask             picture whose white areas are controlled
    masks            instead of it, a mask for each picture of the batch
    mask_feather     sigma of the Gaussian that softens the mask, in pixels of the generation
    mask_strength    how much the mask holds back, 0 (nothing) to 1; number or schedule
    reuse            compute the network at every so many steps of those at which the unit acts, and use
                     its last residuals between: faster, and less alike. For networks that give residuals
    low_vram         keep the weights in the CPU's memory between uses; when absent, as the host keeps
                     its own (the WebUI's --medvram and --lowvram)
    storage          how the weights are stored between uses; `auto`: as they are computed with
    semantics        carries the unit out as sd-webui-controlnet does, see `lib_ctrlgen.request.semantics`
    """

    model: str = ""
    image: str = ""
    images: tuple[str, ...] = ()
    image_from: ImageSource = "request"
    control: str = AUTO
    enabled: bool = True
    preprocessor: Preprocessing = NO_PREPROCESSOR
    params: dict[str, Param] = field(default_factory=dict)
    weight: Annotated[Schedule, Meta(extra_json_schema={"default": 1})] = field(default_factory=_full)
    hires: Schedule | None = None
    guidance_start: Unit01 = 0.0
    guidance_end: Unit01 = 1.0
    control_mode: ControlMode = "balanced"
    resize_mode: ResizeMode = "crop_and_resize"
    inpaint_crop: bool = True
    layer_weights: tuple[Schedule, ...] | None = None
    references: Annotated[tuple[Reference, ...], Meta(max_length=MOST_REFERENCES)] = ()
    combine: Combine = "concat"
    boxes: Annotated[tuple[Box, ...], Meta(max_length=MOST_BOXES)] = ()
    mask: str = ""
    masks: tuple[str, ...] = ()
    mask_strength: Annotated[Schedule, Meta(extra_json_schema={"default": 1})] = field(default_factory=_full)
    mask_feather: Feather = 0.0
    reuse: Annotated[int, Meta(ge=1, le=20)] = 1
    low_vram: bool | None = None
    storage: Storage = "auto"
    semantics: ControlNetSemantics | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("mask_strength", self.mask_strength)
        check_name("control", self.control, control_names())
        self._read_preprocessor()
        self._check_model()
        for one, many in (("image", "images"), ("mask", "masks")):
            _check_pictures(one, getattr(self, one), many, getattr(self, many))
        if self.guidance_start > self.guidance_end:
            raise RequestError("guidance_start", "must not be after guidance_end")
        check_param_values("params", self.params)

    def _read_preprocessor(self) -> None:
        """Put the name in place of a preprocessor's label, and the control in place of `reference_only`."""
        named = encoder_name(self.preprocessor) if isinstance(self.preprocessor, str) else None
        if named is not None:
            found = understood(named, model=self.model, control=self.control, params=self.params)
            for name in ("control", "preprocessor", "params"):
                force_setattr(self, name, getattr(found, name))
            return
        check_preprocessing("preprocessor", self.preprocessor)
        if isinstance(self.preprocessor, str):
            force_setattr(self, "preprocessor", label_of(self.preprocessor))

    def _check_model(self) -> None:
        """Raise RequestError for a unit that lacks a model file, or has one beside a control without file."""
        if self.model and without_model(self.control):
            raise RequestError("model", f"must be empty: the control {self.control!r} has no model file")
        if self.enabled and not self.model and not without_model(self.control):
            raise RequestError(
                "model", "is required: name a model file, or switch the unit off (enabled: false)"
            )

    @property
    def label(self) -> str:
        """The name of the model file, or of the control where it has none."""
        return self.model or self.control

    @property
    def stages(self) -> tuple[PreprocessorStage, ...]:
        """The preprocessors, in the order in which they are applied."""
        return stages_of(self.preprocessor)

    @property
    def preprocessor_label(self) -> str:
        """The names of the preprocessors, such as `canny | invert`."""
        return label_of(self.preprocessor)

    @property
    def schedule(self) -> Schedule:
        """The weight inside `[guidance_start, guidance_end)`."""
        return self.weight.within(self.guidance_start, self.guidance_end)

    def in_pass(self, *, hires: bool) -> Schedule:
        """The schedule in the hires pass or in the first one; the window counts each pass from its start."""
        if not hires or self.hires is None:
            return self.schedule
        return self.hires.within(self.guidance_start, self.guidance_end)

    def weight_in_pass(self, progress: float, *, hires: bool) -> float:
        """The weight at a progress in a pass, without the window."""
        return (self.weight if not hires or self.hires is None else self.hires)(progress)

    def sample(self, steps: int, *, hires: bool) -> tuple[float, ...]:
        """The weight at every step of a pass, 0 outside the window.

        With the semantics of sd-webui-controlnet and a sampler of second order, the window may end or begin
        half a step earlier.
        """
        if self.semantics is None:
            return self.in_pass(hires=hires).sample(steps)
        return tuple(
            self.weight_in_pass(step / steps, hires=hires) * self.acts_at(reported_progress(step, steps))
            for step in range(steps)
        )

    def acts_at(self, reported: float) -> bool:
        """Whether the window has this progress, with the semantics of sd-webui-controlnet."""
        return acts_at(reported, self.guidance_start, self.guidance_end)
