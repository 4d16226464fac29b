"""What a unit does after the U-Net beside its control, by its preprocessor. To add one: a line in `LATER`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.holes import require_hole
from lib_ctrlgen.controls.protocols import FinishingControl, PredictionControl

from .colorfix import ColorFix
from .inpaint_only import InpaintOnly, LamaInpaint
from .recolor import Recolor

Later: TypeAlias = PredictionControl | FinishingControl


def hint_alone(job: UnitInputs, _target: Target) -> None:
    """Nothing: the holes are in the map. Raises RequestError for a picture without any."""
    require_hole(job)


LATER: Mapping[str, Callable[[UnitInputs, Target], Later | None]] = MappingProxyType(
    {
        "inpaint": hint_alone,
        "inpaint_only": InpaintOnly.of,
        "inpaint_only+lama": LamaInpaint.of,
        "tile_colorfix": ColorFix.of,
        "tile_colorfix+sharp": ColorFix.of,
        "recolor_luminance": Recolor.of,
        "recolor_intensity": Recolor.of,
    }
)


def later_control(job: UnitInputs, target: Target) -> Later | None:
    """What a unit does later, if it does anything. Raises RequestError at the unit's fields."""
    make = LATER.get(job.unit.preprocessor)
    return None if make is None else make(job, target)
