"""Taking the place of methods of one `p`, above all of `p.sample`.

`p.sample` is the one hook of the WebUI whose exceptions reach the user: every always-on hook is
wrapped in an `except` that goes on without control, so a failure that was found earlier is kept
here and raised when sampling would begin. Classes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from lib_ctrlgen.request.notices import KEY
from lib_ctrlgen.request.spec import ControlRequest

ABSENT = object()


class MethodPatch:
    """Stands in a method of `p` for one generation."""

    def __init__(self, p: Any, name: str) -> None:
        self.p = p
        self.name = name
        self.former = vars(p).get(name, ABSENT)

    def install(self) -> None:
        """Take the place."""
        setattr(self.p, self.name, self)

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the WebUI would."""
        former = getattr(type(self.p), self.name).__get__(self.p) if self.former is ABSENT else self.former
        return former(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What happens instead."""
        raise NotImplementedError


class SamplePatch(MethodPatch):
    """Stands in `p.sample`. Raises what makes the control impossible."""

    def __init__(self, p: Any) -> None:
        super().__init__(p, "sample")

    def begin(self, x: Any, noise: Any) -> None:
        """A pass is about to begin with these latents and this noise."""

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """A request with the names and hashes of the models that were loaded for it."""
        return request

    def sheets(self, _images: Sequence[Image.Image]) -> list[Image.Image]:
        """What is shown of several pictures together."""
        return []

    def control_maps(self) -> list[Image.Image]:
        """What the control networks saw, unit by unit."""
        return []


class Refusal(SamplePatch):
    """Raises a failure at every later sampling of a generation; `told` says whether the user knows of it."""

    def __init__(self, p: Any, error: Exception, *, told: bool = False) -> None:
        super().__init__(p)
        self.error = error
        self.told = told

    @classmethod
    def instead_of(cls, held: MethodPatch, error: Exception) -> Refusal:
        """Takes the place of a sampling that failed; the user was told."""
        refusal = cls(held.p, error, told=True)
        refusal.former = held.former
        refusal.install()
        return refusal

    def end_batches(self) -> None:
        """Let the WebUI end without further pictures: it stops at a batch that has no prompts.

        Where it should go on all the same, sampling raises.
        """
        self.p.prompts = []
        self.p.do_not_save_grid = True  # a grid of no pictures

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise it."""
        del args, kwargs
        raise self.error


def release(p: Any) -> None:
    """Undo every earlier `install`: a script may process one `p`, or copies of it, several times.

    The warnings of an earlier generation go, too: copies share the dict that they are in.
    """
    p.extra_generation_params.pop(KEY, None)
    for name, held in list(vars(p).items()):
        if isinstance(held, MethodPatch):
            delattr(p, name)
            if held.former is not ABSENT and held.p is p:
                setattr(p, name, held.former)


def held_sample(p: Any) -> SamplePatch | None:
    """What stands in `p.sample`, if it is ours."""
    held = vars(p).get("sample")
    return held if isinstance(held, SamplePatch) else None
