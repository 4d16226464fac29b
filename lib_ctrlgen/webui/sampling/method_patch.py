"""Replacements of methods of one generation `p`, above all of `p.sample`.

The WebUI swallows the exceptions of always-on scripts and would sample without control, but not those of
`p.sample`. An earlier error is therefore stored in the replacement and raised when sampling begins. Methods
are replaced on the instance; classes are never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from lib_ctrlgen.compat.places import UnitPlaces
from lib_ctrlgen.compat.unit import ControlNetUnit
from lib_ctrlgen.forms.field_errors import Mark
from lib_ctrlgen.request.notices import KEY
from lib_ctrlgen.request.spec import ControlRequest

if TYPE_CHECKING:
    from .maps import MapOrder

ABSENT = object()


class MethodPatch(ABC):
    """A callable that replaces the method `name` of `p` for one generation."""

    def __init__(self, p: Any, name: str) -> None:
        self.p = p
        self.name = name
        self.former = vars(p).get(name, ABSENT)

    def install(self) -> None:
        """Replace the method on the instance."""
        setattr(self.p, self.name, self)

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method that was replaced."""
        former = getattr(type(self.p), self.name).__get__(self.p) if self.former is ABSENT else self.former
        return former(*args, **kwargs)

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run in place of the method."""


class SamplePatch(MethodPatch):
    """A replacement of `p.sample`, which raises any error that makes the control impossible.

    further  the units in the form of sd-webui-controlnet
    places   where they are in the request
    panel    the values of the panel's fields; empty for a request that was given as one argument
    marks    errors and warnings that the page shows at their fields
    """

    def __init__(self, p: Any) -> None:
        super().__init__(p, "sample")
        self.further: tuple[ControlNetUnit, ...] = ()
        self.places = UnitPlaces()
        self.panel: tuple[Any, ...] = ()
        self.marks: list[Mark] = []

    def begin(self, x: Any, noise: Any) -> None:
        """Called before a pass with its latents and its noise, [B, C, h, w] each."""

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """Return the request with the names and hashes of the models that were loaded for it."""
        return request

    def sheets(self, _images: Sequence[Image.Image]) -> list[Image.Image]:
        """Return pictures that show several of the batch's pictures side by side."""
        return []

    def control_maps(self, _order: MapOrder) -> list[Image.Image]:
        """Return the control maps of the units that `_order` asks for."""
        return []


class Refusal(SamplePatch):
    """Raises `error` at every sampling of a generation; `shown` is whether the user has seen it already."""

    def __init__(self, p: Any, error: Exception, *, shown: bool = False) -> None:
        super().__init__(p)
        self.error = error
        self.shown = shown

    @classmethod
    def instead_of(cls, patch: SamplePatch, error: Exception) -> Refusal:
        """Replace a sampling that failed with an error that was shown already."""
        refusal = cls(patch.p, error, shown=True)
        refusal.former = patch.former
        refusal.panel, refusal.marks = patch.panel, patch.marks
        refusal.install()
        return refusal

    def end_batches(self) -> None:
        """Make the WebUI stop without further pictures, which it does at a batch without prompts.

        If it samples nevertheless, the error is raised.
        """
        self.p.prompts = []
        self.p.do_not_save_grid = True  # the WebUI cannot make a grid of no pictures

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise the error."""
        del args, kwargs
        raise self.error


def release(p: Any) -> None:
    """Undo every earlier `install`, because a script may process one `p`, or copies of it, several times.

    Warnings of an earlier generation are removed too: copies share the dict that holds them.
    """
    p.extra_generation_params.pop(KEY, None)
    for name, patch in list(vars(p).items()):
        if isinstance(patch, MethodPatch):
            delattr(p, name)
            if patch.former is not ABSENT and patch.p is p:
                setattr(p, name, patch.former)


def sample_patch(p: Any) -> SamplePatch | None:
    """Return this extension's replacement of `p.sample`, or None if there is none."""
    patch = vars(p).get("sample")
    return patch if isinstance(patch, SamplePatch) else None
