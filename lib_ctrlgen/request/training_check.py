"""What a check of a training finds before it starts: what it is and costs, or why it is refused."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from .answers import Answer


class TrainingTimes(Answer, frozen=True, kw_only=True):
    """The seconds of the parts of a training.

    prior        to make the prior's pictures
    encoding     to encode the pictures
    steps        of the optimiser
    validations  with their previews
    """

    prior: float = 0.0
    encoding: float = 0.0
    steps: float = 0.0
    validations: float = 0.0

    @property
    def total(self) -> float:
        """The seconds of all parts."""
        return self.prior + self.encoding + self.steps + self.validations


class TrainingCost(Answer, frozen=True, kw_only=True):
    """What a training takes.

    text        all of it in words
    memory      which memory: GPU or main
    bytes       of that memory beyond the loaded model
    free        bytes of it that are free
    seconds     of the whole training
    times       of its parts
    parameters  trained numbers
    disk        bytes of checkpoints and caches
    disk_free   bytes that are free on that disk
    """

    text: str
    memory: str
    bytes: int
    free: int | None
    seconds: float
    times: TrainingTimes
    parameters: int
    disk: int
    disk_free: int | None


class CheckedTraining(Answer, frozen=True, kw_only=True):
    """A training that may start.

    about     what is trained, in words
    training  pictures to learn from
    held_out  pictures that measure it
    warnings  what the user should know
    cost      what it takes
    """

    about: str
    training: int
    held_out: int
    warnings: list[str]
    cost: TrainingCost


class RefusedTraining(Answer, frozen=True, kw_only=True, tag="refused"):
    """Why a training cannot start: the JSON path of the place, and what to do."""

    path: str
    message: str


def read_check(line: str) -> CheckedTraining | RefusedTraining | None:
    """The result in a line of output, None if it is none."""
    with suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(line, type=RefusedTraining)
    with suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(line, type=CheckedTraining)
    return None
