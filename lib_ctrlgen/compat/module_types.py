"""A preprocessor of sd-webui-controlnet 1.1.455, and one of its sliders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slider:
    """A number of a preprocessor: its label, its default, its bounds (inclusive) and its step."""

    label: str
    value: float
    minimum: float
    maximum: float
    step: float = 0.01

    def holds(self, number: float) -> bool:
        """Whether a number is within the bounds."""
        return self.minimum <= number <= self.maximum


RESOLUTION = Slider("Resolution", 512, 64, 2048, 8)  # of the detection, in pixels of the short side


@dataclass(frozen=True, kw_only=True)
class Module:
    """A preprocessor of sd-webui-controlnet.

    name, label             the internal name, and the name in its page
    tags                    the control types that list it
    priority                its place in lists: larger ones come first
    resolution, a, b        its sliders `processor_res`, `threshold_a`, `threshold_b`; None where it has none
    model_free              whether a unit with it has no model
    gives_picture           whether its result is a picture rather than features
    accepts_mask, requires_mask   whether it reads the mask of the picture, and whether it cannot do without
    """

    name: str
    label: str
    tags: tuple[str, ...] = ()
    priority: int = 0
    resolution: Slider | None = RESOLUTION
    a: Slider | None = None
    b: Slider | None = None
    model_free: bool = False
    gives_picture: bool = True
    accepts_mask: bool = False
    requires_mask: bool = False

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """Its sliders in the order of sd-webui-controlnet's lists."""
        return tuple(each for each in (self.resolution, self.a, self.b) if each is not None)
