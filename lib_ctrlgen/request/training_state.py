"""The state of a training, which it writes into its folder and other processes read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

STATE, STOP = "state.json", "stop"
TRAINING = ".training"  # the suffix of a training's folder, which lies beside its file
RESTART_ADVICE = "give another --out, or --restart to begin anew"  # to the user of the command line

TrainingStatus: TypeAlias = Literal[
    "checking", "caching", "training", "validating", "stopped", "finished", "failed"
]


class TrainingState(Struct, frozen=True, kw_only=True):
    """What a training is doing.

    status        stopped is a training that was asked to stop and can be continued
    step          steps that are done
    steps         steps in all
    cached        pictures that are made or encoded before the first step
    to_cache      how many of them there are
    loss          the mean of the last steps
    held_out      the loss on held-out views at the last validation
    likeness      of the previews to the held-out views at the last validation
    accuracy      of the previews to their prompts at the last validation
    seconds_left  an estimate
    previews      the last validation's pictures, relative to the run's folder
    warnings      what the user should know
    about         what is trained, in words
    cost          memory, time and disk that the training takes, in words
    error         why it failed
    out           the file that it writes
    process       the number of the process
    """

    status: TrainingStatus
    kind: str
    out: str
    process: int
    step: int = 0
    steps: int = 0
    cached: int = 0
    to_cache: int = 0
    loss: float | None = None
    held_out: float | None = None
    likeness: float | None = None
    accuracy: float | None = None
    seconds_left: float | None = None
    previews: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    about: str = ""
    cost: str = ""
    error: str = ""


def read_state(folder: Path) -> TrainingState | None:
    """The state of the training in a folder, None if there is none."""
    try:
        return msgspec.json.decode((folder / STATE).read_bytes(), type=TrainingState)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def ask_to_stop(folder: Path) -> None:
    """Ask the training in a folder to end after its current step, with a checkpoint.

    While pictures are made or encoded it ends after the current picture.
    """
    (folder / STOP).touch()
