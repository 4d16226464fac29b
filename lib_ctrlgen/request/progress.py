"""What a generation does before its first step, for a host that shows it and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from lib_ctrlgen.errors import StoppedError


def _hidden(_text: str) -> AbstractContextManager[None]:
    return nullcontext()


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Progress:
    """How a host shows the piece of work that is running, and whether its user stopped the generation.

    shown    a `with` block during which the host shows a text, such as `detecting the pose of unit 0`
    stopped  whether no further piece of work is to begin
    """

    shown: Callable[[str], AbstractContextManager[None]] = _hidden
    stopped: Callable[[], bool] = _never

    @contextmanager
    def piece(self, text: str) -> Iterator[None]:
        """Do one piece of work. Raises StoppedError instead if the generation was stopped."""
        if self.stopped():
            raise StoppedError("the generation was stopped")
        with self.shown(text):
            yield


SILENT = Progress()


def silent(_text: str) -> None:
    """Show no text of the steps."""


# What preprocessors detect, by a part of their names; the first part that fits counts.
DETECTED = {
    "pose": "the pose",
    "face": "the face",
    "depth": "the depth",
    "normal": "the surface directions",
    "canny": "the edges",
    "edge": "the edges",
    "hed": "the edges",
    "pidinet": "the edges",
    "mlsd": "the straight lines",
    "line": "the lines",
    "scribble": "the lines",
    "seg": "the segments",
    "oneformer": "the segments",
}


def detecting(preprocessor: str, unit: int | str) -> str:
    """The text for the making of a unit's control map.

    >>> detecting("dw_openpose_full", 1), detecting("tile_resample", 0)
    ('detecting the pose of unit 1', 'making the control map of unit 0')
    """
    found = next((what for part, what in DETECTED.items() if part in preprocessor), "")
    return f"detecting {found} of {named(unit)}" if found else f"making the control map of {named(unit)}"


def named(unit: int | str) -> str:
    """A unit by its number, or a concept by its name.

    >>> named(1), named("concept 0")
    ('unit 1', 'concept 0')
    """
    return f"unit {unit}" if isinstance(unit, int) else unit


def computing(units: Sequence[int | str]) -> str:
    """The text for a call of the network that these units share.

    >>> computing([1]), computing([0, "concept 2"])
    ('computing unit 1', 'computing unit 0, concept 2')
    """
    return f"computing {', '.join(map(named, units))}"


def sampling(units: Sequence[int | str]) -> str:
    """The text for a call of the U-Net in which these units act.

    >>> sampling([0, 1]), sampling([])
    ('sampling with unit 0, unit 1', 'sampling: no unit acts at this step')
    """
    return f"sampling with {', '.join(map(named, units))}" if units else "sampling: no unit acts at this step"
