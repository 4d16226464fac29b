"""Taking the place of `p.sample`, the one hook of the WebUI whose exceptions reach the user.

Every always-on hook is wrapped in an `except` that goes on without control, so a failure
that was found earlier is kept here and raised when sampling would begin.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

ABSENT = object()


class HeldSample:
    """Stands in `p.sample` for one generation."""

    def __init__(self, p: Any) -> None:
        self.p = p
        self.former = vars(p).get("sample", ABSENT)

    def install(self) -> None:
        """Take the place."""
        self.p.sample = self

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Sample as the WebUI would."""
        former = type(self.p).sample.__get__(self.p) if self.former is ABSENT else self.former
        return former(*args, **kwargs)

    def control_maps(self) -> list[Image.Image]:
        """What the control networks saw, unit by unit."""
        return []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sample. Raises what makes the control impossible."""
        raise NotImplementedError


class Refusal(HeldSample):
    """Raises the failure that was found before sampling."""

    def __init__(self, p: Any, error: Exception) -> None:
        super().__init__(p)
        self.error = error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise it."""
        del args, kwargs
        raise self.error


def release(p: Any) -> None:
    """Undo an earlier `install`: a script may process one `p`, or copies of it, several times."""
    held = vars(p).get("sample")
    if isinstance(held, HeldSample):
        del p.sample
        if held.former is not ABSENT and held.p is p:
            p.sample = held.former


def held_sample(p: Any) -> HeldSample | None:
    """What stands in `p.sample`, if it is ours."""
    held = vars(p).get("sample")
    return held if isinstance(held, HeldSample) else None
