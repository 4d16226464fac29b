"""What runs inside a worker: a recipe of what makes cells, opened where the worker is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import CtrlGenError, HostError

if TYPE_CHECKING:
    from lib_ctrlgen.tuner.worker import Outcome

Sent: TypeAlias = tuple[str, Mapping[str, Any]]  # a cell's key, and its whole request as a payload
Returned: TypeAlias = "list[tuple[str, Outcome]]"


class LostError(HostError):
    """What a worker works with is gone: others take over what it had."""


class Maker(Protocol):
    """Makes and judges cells."""

    def make(self, cells: Sequence[Sent]) -> Returned:
        """Every cell with its outcome. Raises LostError."""

    def stop(self) -> None:
        """Give up what is being made, and leave nothing behind. May be called from another thread."""


class Recipe(Protocol):
    """How a worker is opened: sent to where it runs."""

    @property
    def again(self) -> bool:
        """Whether another worker may be opened in the place of a lost one."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What it needs of the cluster, in Ray's words."""

    def build(self) -> Maker:
        """Open it. Raises CtrlGenError, which ends the run."""


class WorkerActor:
    """The actor. One batch at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.maker: Maker

    def open(self) -> str:
        """Build what the recipe says; returns the version that runs here."""
        self.maker = self.recipe.build()
        return __version__

    def make(self, cells: Sequence[Sent]) -> Returned:
        """Make some cells. Errors come back as what survives the journey: their text."""
        return [(key, sendable(outcome)) for key, outcome in self.maker.make(cells)]

    def stop(self) -> None:
        """Close what was opened."""
        self.maker.stop()


def sendable(outcome: Outcome) -> Outcome:
    """An outcome that can be unpickled anywhere."""
    return CtrlGenError(str(outcome)) if isinstance(outcome, Exception) else outcome
