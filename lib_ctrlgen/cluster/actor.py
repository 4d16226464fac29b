"""The Ray actor of a worker. It receives a recipe and builds a maker from it, which generates cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import CtrlGenError, HostError

if TYPE_CHECKING:
    from lib_ctrlgen.tuner.worker import Outcome

CellRequest: TypeAlias = tuple[str, Mapping[str, Any]]  # a cell's key, and its request as JSON types
CellOutcomes: TypeAlias = "list[tuple[str, Outcome]]"


class LostError(HostError):
    """A worker, or the WebUI that it uses, no longer answers; other workers make its cells."""


class Maker(Protocol):
    """Generates and scores cells."""

    def make(self, cells: Sequence[CellRequest]) -> CellOutcomes:
        """Make every cell, and return each with its outcome. Raises LostError."""

    def stop(self) -> None:
        """Stop the work and clean up. May be called from another thread."""


class Recipe(Protocol):
    """Builds a maker. The recipe is pickled and sent to the worker."""

    @property
    def restartable(self) -> bool:
        """Whether a new worker may be started from this recipe to replace a lost one."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The resources that the worker needs, as options of a Ray actor."""

    def build(self) -> Maker:
        """Build the maker. Raises CtrlGenError, which ends the run."""


class WorkerActor:
    """The actor; it makes one batch of cells at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.maker: Maker

    def open(self) -> str:
        """Build the maker, and return the version of CtrlGen that runs here."""
        self.maker = self.recipe.build()
        return __version__

    def make(self, cells: Sequence[CellRequest]) -> CellOutcomes:
        """Make some cells. Exceptions are returned as CtrlGenErrors with their text."""
        return [(key, sendable(outcome)) for key, outcome in self.maker.make(cells)]

    def stop(self) -> None:
        """Stop the maker."""
        self.maker.stop()


def sendable(outcome: Outcome) -> Outcome:
    """The outcome in a form that can be unpickled on any machine."""
    return CtrlGenError(str(outcome)) if isinstance(outcome, Exception) else outcome
