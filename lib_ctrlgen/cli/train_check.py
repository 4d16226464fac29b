"""Prints what `ctrlgen train METHOD --dry-run --json` found, for programs that start trainings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.request.training_check import CheckedTraining, RefusedTraining, TrainingCost

from .output import FAILURE

if TYPE_CHECKING:
    from lib_ctrlgen.train.prepare import Prepared


def print_check(check: Callable[[], Prepared]) -> int:
    """Print the result of a check, or the error, as one line of JSON. Returns the exit code."""
    try:
        found: CheckedTraining | RefusedTraining = checked(check())
    except CtrlGenError as error:
        place = (error.path, error.message) if isinstance(error, RequestError) else ("$", str(error))
        found = RefusedTraining(path=place[0], message=place[1])
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return FAILURE if isinstance(found, RefusedTraining) else 0


def checked(prepared: Prepared) -> CheckedTraining:
    """What a prepared training is and costs."""
    pictures, cost = prepared.pictures, prepared.cost
    return CheckedTraining(
        about=prepared.method.about(),
        training=len(pictures.training),
        held_out=len(pictures.held_out),
        warnings=list(prepared.warnings),
        cost=TrainingCost(
            text=str(cost),
            memory=cost.memory,
            bytes=cost.bytes,
            free=cost.free,
            seconds=cost.times.total,
            times=cost.times,
            parameters=cost.parameters,
            disk=cost.disk,
            disk_free=cost.disk_free,
        ),
    )
