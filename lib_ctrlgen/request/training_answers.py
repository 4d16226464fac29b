"""Bodies and answers of the REST routes under /ctrlgen/v1/train, as types."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from .answers import Answer
from .base import Spec

TrainingPhase: TypeAlias = Literal[
    "starting",
    "checking",
    "caching",
    "training",
    "validating",
    "stopping",
    "stopped",
    "finished",
    "failed",
]


class TrainingPicture(Spec, frozen=True, kw_only=True):
    """An uploaded picture to learn from.

    image    base64 or a data URL
    name     its file name; a number when empty
    caption  what it shows; the training's caption when empty
    """

    image: str
    name: str = ""
    caption: str = ""


class TrainingAnswer(Answer, frozen=True, kw_only=True):
    """A training.

    name          its name
    kind          what is trained
    file          the file that it makes
    folder        where it is, with its log
    state         failed and stopped ones can be resumed
    step          steps that are done
    steps         steps in all
    loss          the mean of the last steps
    held_out      the loss on held-out views at the last validation
    likeness      of the previews to the held-out views at the last validation
    accuracy      of the previews to their prompts at the last validation
    seconds_left  an estimate
    previews      files of the last previews, for the route of files
    warnings      what the user should know
    about         what is trained, in words
    cost          memory, time and disk, in words
    error         why it failed
    report        whether there is a report
    """

    name: str
    kind: str
    file: str
    folder: str
    state: TrainingPhase
    step: int = 0
    steps: int = 0
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
    report: bool = False


class TrainingRemoved(Answer, frozen=True, kw_only=True):
    """The name of a training whose folder was removed."""

    removed: str


UploadedPictures: TypeAlias = Annotated[list[TrainingPicture], Meta(min_length=1, max_length=500)]
