"""The boxes of a unit: areas of the picture, each with a phrase or a picture of what is to be there."""

from __future__ import annotations

from lib_ctrlgen.errors import RequestError

from .base import Spec

MAX_BOXES = 30  # what GLIGEN's position net was trained with


class Box(Spec, frozen=True, kw_only=True):
    """An area of the picture, and what is to be in it.

    box    its left, top, right and bottom edge as parts of the picture's width and height, 0..1
    text   a phrase, such as `a red circle`
    image  a picture of it, for models that take one: base64 or a data URL
    """

    box: tuple[float, float, float, float]
    text: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        left, top, right, bottom = self.box
        if not all(0 <= edge <= 1 for edge in self.box):
            raise RequestError("box", f"must stay within 0..1, is {list(self.box)}")
        if right <= left or bottom <= top:
            raise RequestError("box", f"needs left < right and top < bottom, is {list(self.box)}")
        if not self.text.strip() and not self.image:
            raise RequestError("text", "is empty: say what is to be in the box")
