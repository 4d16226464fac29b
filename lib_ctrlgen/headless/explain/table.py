"""The names of the figures of `ctrlgen explain`, one line each. It does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import RequestError, nearest

if TYPE_CHECKING:
    from .figures import Make

HERE = "lib_ctrlgen.headless.explain"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A figure: its name, which is also that of the module that makes it, and what it shows.

    `job` is the function of `examples` with the request that is shown if the user names no job.
    """

    name: str
    about: str
    job: str

    def make(self) -> Make:
        """The function that makes the figure. Imports its module."""
        found: Make = import_module(f"{HERE}.{self.name}").make
        return found

    def example(self) -> dict[str, Any]:
        """The request, as JSON types, that is shown if the user names no job."""
        found: dict[str, Any] = getattr(import_module(f"{HERE}.examples"), self.job)()
        return found


FIGURES = (
    Entry(name="latents", about="a picture as a latent, and arithmetic between two", job="two_pictures"),
    Entry(name="averages", about="pixels, latents, text features and predictions averaged", job="concepts"),
    Entry(name="noise", about="the noise levels of each scheduler", job="plain"),
    Entry(name="loop", about="what the U-Net gets and predicts over the steps", job="plain"),
    Entry(name="residuals", about="what a ControlNet adds, by layer and step", job="edges"),
    Entry(name="attention", about="where words and an IP-Adapter act", job="adapter"),
    Entry(name="schedules", about="one unit with five weights over time", job="sketch"),
    Entry(name="stacking", about="where two ControlNets agree or fight", job="rivals"),
    Entry(name="blends", about="the modes of a blend side by side", job="concepts"),
    Entry(name="copying", about="a control picture from ignored to copied", job="traced"),
)


def figure_named(name: str) -> Entry:
    """The figure with this name. Raises RequestError."""
    found = next((each for each in FIGURES if each.name == name), None)
    if found is None:
        names = [each.name for each in FIGURES]
        raise RequestError("", f"no figure is named {name!r}; {nearest(name, [*names, 'all'])}")
    return found
