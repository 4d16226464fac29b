"""Builds what a unit does after the U-Net, which its preprocessor names in `after_unet`."""

from __future__ import annotations

from typing import TypeAlias

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.holes import require_hole
from lib_ctrlgen.controls.protocols import FinishingControl, PredictionControl
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.catalogue import load_object

AfterUNet: TypeAlias = PredictionControl | FinishingControl


def after_unet_control(job: UnitInputs, target: Target) -> AfterUNet | None:
    """What a unit does after the U-Net beside its control; None where it does nothing.

    Raises RequestError at the unit's fields, also for a picture without the hole that the preprocessor needs.
    """
    chosen = preprocessor(job.unit.preprocessor, f"{job.path}.preprocessor")
    if chosen.marks_holes:
        require_hole(job)
    if not chosen.after_unet:
        return None
    after_unet: AfterUNet = load_object(chosen.after_unet).of(job, target)
    return after_unet
