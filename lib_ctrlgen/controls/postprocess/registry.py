"""Builds the control that acts after the U-Net, from the class that a preprocessor names in `after_unet`."""

from __future__ import annotations

from typing import TypeAlias

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.holes import require_hole
from lib_ctrlgen.controls.protocols import FinishingControl, PredictionControl
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.catalogue import load_object

AfterUNet: TypeAlias = PredictionControl | FinishingControl


def after_unet_control(job: UnitInputs, target: Target) -> AfterUNet | None:
    """The control that acts after the U-Net for a unit; None if its preprocessor names no such control.

    Raises RequestError at the unit's fields, also for a picture without the hole that the preprocessor needs.
    """
    chosen = chain_of(job.unit.preprocessor, f"{job.path}.preprocessor")
    if chosen.marks_holes:
        require_hole(job)
    if not chosen.after_unet:
        return None
    after_unet: AfterUNet = load_object(chosen.after_unet).of(job, target)
    return after_unet
