"""What a user asks of `ctrlgen product`."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

from msgspec import Meta
from msgspec.structs import force_setattr

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.bundled import NAME as TINY
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.schedule import parse_schedule

TINY_SUBJECT, SUBJECT = "a circle", "the product"
NEGATIVE = "text, watermark, blurry, deformed, duplicate"
TINY_SIZE = 128  # pixels
TINY_CFG, CFG = 4.0, 6.0
TINY_TRAINING: dict[str, Any] = {"steps": 300, "lr": 2e-3, "rank": 8, "batch": 2, "warmup": 20}
LEAST, MOST = 64, 4096
MOST_WEIGHT = 2.0

Weight: TypeAlias = float | str  # a number, or the text of a schedule


def weight_of(name: str, given: Weight) -> Weight:
    """A weight as it is kept: a number, or the text of a schedule that stays within 0..2.

    Raises RequestError at `name`.

    >>> weight_of("identity", "0.8"), weight_of("identity", "1>0.5 in 0.2..1")
    (0.8, '1>0.5 in 0.2..1')
    """
    with at_path(name):
        schedule = parse_schedule(given)
        low, high = schedule.bounds
        if low < 0 or high > MOST_WEIGHT:
            raise RequestError("", f"must stay within 0..{MOST_WEIGHT:g}, is {schedule}")
    if schedule.constant is not None:
        return schedule.constant
    return str(given).strip() if high > 0 else 0.0


def peak(weight: Weight) -> float:
    """The largest value that a weight may have; 0 if it does nothing at any step.

    >>> peak(0.8), peak("1>0.5 in 0.2..1")
    (0.8, 1.0)
    """
    return parse_schedule(weight).bounds[1]


class ProductSettings(Spec, frozen=True, kw_only=True):
    """The settings of a run, the same for all pictures.

    model            checkpoint, by name or path
    subject          what the product is, in words that the model knows: "a mug"
    negative_prompt  what to draw away from
    identity         the weight of the IP-Adapter, 0..2: a number, or a schedule such as `1>0.5 in 0.2..1`
    placement        the weight of the depth ControlNet, in the same way; 0 leaves the place to the model
    size             pixels of a side; 0 takes the checkpoint's own
    steps, cfg_scale, sampler, seed  as in a job; cfg_scale 0 takes a usual one
    count            pictures for each environment, with seeds one after another
    """

    model: str = TINY
    subject: str = ""
    negative_prompt: str = ""
    identity: Weight = 1.0
    placement: Weight = 0.8
    size: Annotated[int, Meta(ge=0, le=MOST)] = 0
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    cfg_scale: Annotated[float, Meta(ge=0, le=30)] = 0.0
    sampler: str = "DPM++ 2M"
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] = 0
    count: Annotated[int, Meta(ge=1, le=100)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("identity", "placement"):
            force_setattr(self, name, weight_of(name, getattr(self, name)))
        if self.size and self.size < LEAST:
            raise RequestError("size", f"is {self.size}: from {LEAST} to {MOST} pixels, or 0")
        if 0 < self.cfg_scale < 1:
            raise RequestError("cfg_scale", f"is {self.cfg_scale:g}: at least 1, or 0 for a usual one")

    @property
    def is_tiny(self) -> bool:
        """Whether the checkpoint is the bundled one, which knows few words."""
        return self.model.split(" [")[0] == TINY

    @property
    def product(self) -> str:
        """What the prompts call the product."""
        return self.subject.strip() or (TINY_SUBJECT if self.is_tiny else SUBJECT)

    @property
    def negative(self) -> str:
        """The negative prompt; without one, a common one that the bundled model would not understand."""
        return self.negative_prompt or ("" if self.is_tiny else NEGATIVE)

    @property
    def guidance(self) -> float:
        """The guidance scale."""
        return self.cfg_scale or (TINY_CFG if self.is_tiny else CFG)

    def side(self, native: int) -> int:
        """The side of a picture, a multiple of 8; `native` is that of the checkpoint."""
        wanted = self.size or (TINY_SIZE if self.is_tiny else native)
        return 8 * math.ceil(wanted / 8)


def as_inputs(settings: ProductSettings) -> dict[str, Any]:
    """The settings as JSON types."""
    return {name: getattr(settings, name) for name in settings.__struct_fields__}
