"""The jobs that figures show when the user names none: requests for the bundled tiny model."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from lib_ctrlgen.headless.demo_rows import (
    HELD,
    MODEL,
    SIZE,
    STAR,
    Sources,
    depth_unit,
    draw_sources,
    edge_unit,
    look_unit,
)

Job: TypeAlias = dict[str, Any]
BASE: Job = {"model": MODEL, "width": SIZE, "height": SIZE, "steps": 20, "cfg_scale": 4, "seed": 1}
CROSS = "a cross on a background"


@cache
def sources() -> Sources:
    """The control pictures, drawn once."""
    return draw_sources()


def two_pictures() -> Job:
    """Two units with pictures."""
    return {**BASE, "prompt": CROSS, "units": [edge_unit(sources().layout), look_unit(sources())]}


def plain() -> Job:
    """A prompt without units."""
    return {**BASE, "prompt": "a red circle on a blue background"}


def edges() -> Job:
    """A ControlNet on edges."""
    return {**BASE, "prompt": "a blue cross on a yellow background", "units": [edge_unit(sources().layout)]}


def adapter() -> Job:
    """An IP-Adapter, and words for the rest."""
    return {**BASE, "prompt": "a red star on a background", "units": [look_unit(sources())]}


def sketch() -> Job:
    """A sketch of a square, and a prompt for a star."""
    return {**BASE, "seed": 6, "prompt": STAR, "units": [edge_unit(sources().sketch, HELD)]}


def traced() -> Job:
    """The same with a seed whose star stands where the sketch is, so that only its shape is at stake."""
    return {**sketch(), "seed": 3}


def rivals() -> Job:
    """Two ControlNets that agree, and a third one with another picture."""
    units = [
        edge_unit(sources().layout),
        depth_unit(sources()),
        edge_unit(sources().sketch),
    ]
    return {**BASE, "prompt": CROSS, "units": units}


def concepts() -> Job:
    """Two concepts of equal weight."""
    texts = ("a red circle on a white background", "a blue square on a yellow background")
    blend = {"mode": "prediction", "normalise": True, "concepts": [{"prompt": text} for text in texts]}
    return {**BASE, "prompt": "", "blend": blend}
