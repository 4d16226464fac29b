"""Weight, start and end of a unit from one strength of 0 to 100 %, in a table of presets for each kind.

The numbers are those of Krita AI Diffusion (ai_diffusion/presets/control.json), whose slider has the same
meaning; `WHOLE` is CtrlGen's own, for what must act until the last step.

>>> at(PRESETS["style"], 25)
Preset(weight=0.6, start=0.2, end=0.9)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias


class Preset(NamedTuple):
    """What one strength sets; `start` and `end` are shares of the steps."""

    weight: float
    start: float
    end: float


Presets: TypeAlias = tuple[Preset, Preset, Preset]  # low, middle, high

LEVELS: Mapping[str, int] = MappingProxyType({"Low": 0, "Middle": 50, "High": 100})
MIDDLE = 50
DEFAULT: Presets = (Preset(0.7, 0, 0.5), Preset(1, 0, 0.8), Preset(1, 0, 1))
WHOLE: Presets = (Preset(0.7, 0, 1), Preset(1, 0, 1), Preset(1.2, 0, 1))
PRESETS: Mapping[str, Presets] = MappingProxyType(
    {
        "reference": (Preset(0.4, 0.2, 0.8), Preset(0.8, 0.2, 0.8), Preset(1, 0, 1)),
        "image_prompt": (Preset(0.4, 0.2, 0.8), Preset(0.8, 0.2, 0.8), Preset(1, 0, 1)),
        "style": (Preset(0.4, 0.2, 0.8), Preset(0.8, 0.2, 1), Preset(1.2, 0, 1)),
        "composition": (Preset(0.5, 0, 0.5), Preset(0.8, 0, 0.8), Preset(1, 0, 0.8)),
        "face": (Preset(0.5, 0.4, 0.9), Preset(0.8, 0.2, 1), Preset(1.2, 0.2, 1)),
        "inpaint": WHOLE,
        "recolour": WHOLE,
    }
)
SDXL_PRESETS: Mapping[str, Presets] = MappingProxyType(
    {
        "scribble": (Preset(0.4, 0, 0.5), Preset(0.7, 0, 0.7), Preset(1, 0, 0.8)),
        "lines": (Preset(0.5, 0, 0.5), Preset(0.7, 0, 0.8), Preset(1, 0, 1)),
    }
)


def presets_of(kind: str, base: str = "") -> Presets:
    """The presets of a kind of control for a checkpoint family (`SDXL` has rows of its own)."""
    own = SDXL_PRESETS.get(kind) if base == "SDXL" else None
    return own or PRESETS.get(kind, DEFAULT)


def at(presets: Presets, strength: float) -> Preset:
    """The preset of a strength from 0 to 100, linear between low, middle and high."""
    low, middle, high = presets
    first, second, place = (
        (low, middle, strength / MIDDLE) if strength < MIDDLE else (middle, high, strength / MIDDLE - 1)
    )
    return Preset(*(round(a + (b - a) * place, 3) for a, b in zip(first, second, strict=True)))
