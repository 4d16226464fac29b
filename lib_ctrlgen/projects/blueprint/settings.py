"""What a user asks of `ctrlgen blueprint`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from msgspec import Meta

from lib_ctrlgen.errors import RequestError, nearest
from lib_ctrlgen.models.bundled import NAME as TINY
from lib_ctrlgen.request.base import Spec

SEED, ALIGNED, PICTURE = "seed", "aligned", "picture"
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)  # that are tried
SAMPLES = 3  # sheets with which they are tried
PROMPT = "architectural rendering of a {drawing}, plaster, oak and glass, soft daylight, finely detailed"
NEGATIVE = "text, watermark, blurry, distorted"
TINY_PROMPT = "a white shape on a blue plain background"
DRAWINGS = {"plan": "furnished floor plan seen from above", "elevation": "house facade seen from the front"}
FIELD = re.compile(r"\{([^{}]*)\}")
FIELDS = ("drawing", "kind", "name")
SIZE = re.compile(r"(\d+)(?:x(\d+))?")
LEAST, MOST = 64, 4096


class BlueprintSettings(Spec, frozen=True, kw_only=True):
    """The settings of a run, the same for all sheets.

    model            checkpoint, by name or path
    prompt           a template: {drawing} says what is drawn, {kind} is plan or elevation, {name} the file's
    negative_prompt  what to draw away from
    look             `seed`: the same noise for all sheets; `aligned`: in the style of the first sheet
                     (StyleAligned); `picture`: in that of a reference picture, through an IP-Adapter
    look_weight      the weight of the reference picture
    kinds            control kinds that are tried; empty: all for which there is a model
    strength         the weight of the controls; if absent, the tuner finds it
    size             pixels of a side of a square sheet; other shapes get the same area. Or WIDTHxHEIGHT
    steps, cfg_scale, sampler, seed  as in a job
    """

    model: str = TINY
    prompt: str = ""
    negative_prompt: str = ""
    look: str = SEED
    look_weight: Annotated[float, Meta(ge=0, le=2)] = 0.8
    kinds: tuple[str, ...] = ()
    strength: Annotated[float, Meta(ge=0, le=2)] | None = None
    size: str = ""
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    cfg_scale: Annotated[float, Meta(ge=1, le=30)] = 6.0
    sampler: str = "DPM++ 2M"
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in FIELD.findall(self.prompt):
            if field not in FIELDS:
                raise RequestError(
                    "prompt", f"unknown {{{field}}} in the template ({nearest(field, FIELDS)})"
                )
        if self.size:
            read_size(self.size)

    @property
    def is_tiny(self) -> bool:
        """Whether the checkpoint is the bundled one, which knows few words."""
        return self.model.split(" [")[0] == TINY

    def prompt_for(self, kind: str, name: str) -> str:
        """The prompt of a sheet."""
        template = self.prompt or (TINY_PROMPT if self.is_tiny else PROMPT)
        values = {"drawing": DRAWINGS[kind], "kind": kind, "name": re.sub(r"[-_]+", " ", name)}
        return FIELD.sub(lambda found: values[found[1]], template)

    @property
    def negative(self) -> str:
        """The negative prompt; without one, a common one that the bundled model would not understand."""
        return self.negative_prompt or ("" if self.is_tiny else NEGATIVE)


def read_size(text: str) -> tuple[int, int]:
    """Width and height of `768x512`; both are the number of `640`. Raises RequestError."""
    found = SIZE.fullmatch(text.strip().lower())
    numbers = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(LEAST <= number <= MOST for number in numbers):
        raise RequestError("size", f"{text!r} is no size from {LEAST} to {MOST}, such as 640 or 768x512")
    return numbers


def sheet_size(sheet: tuple[int, int], size: str, usual: int) -> tuple[int, int]:
    """The size of a rendering, multiples of 8, for a sheet of this size; `usual` is a square's side.

    >>> sheet_size((800, 600), "", 512), sheet_size((800, 600), "256x256", 512)
    ((592, 440), (256, 256))
    """
    if "x" in size.lower():
        width, height = read_size(size)
        return _eights(width), _eights(height)
    side = read_size(size)[0] if size else usual
    ratio = min(2.5, max(0.4, sheet[0] / sheet[1]))
    return _eights(side * math.sqrt(ratio)), _eights(side / math.sqrt(ratio))


def _eights(length: float) -> int:
    return max(LEAST, 8 * round(length / 8))


def as_inputs(settings: BlueprintSettings) -> dict[str, Any]:
    """The settings as JSON types."""
    return {name: getattr(settings, name) for name in settings.__struct_fields__ if name != "kinds"} | {
        "kinds": list(settings.kinds)
    }
