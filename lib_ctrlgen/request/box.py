"""A box of a GLIGEN unit: what is to be inside a rectangle of the picture."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from lib_ctrlgen.errors import RequestError

from .base import Spec

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
MOST_BOXES = 30  # objects in GLIGEN's training (Li et al. 2023)


class Box(Spec, frozen=True, kw_only=True):
    """A rectangle, and a phrase or a picture of what is to be in it.

    box    left, top, right and bottom as shares of the picture's width and height, 0..1
    text   the phrase
    image  a picture of the object: base64 or a data URL; for text-image files
    """

    box: tuple[Share, Share, Share, Share]
    text: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        left, top, right, bottom = self.box
        if left >= right or top >= bottom:
            raise RequestError(
                "box", "is empty: give left, top, right, bottom with left < right, top < bottom"
            )
        if not self.text.strip() and not self.image:
            raise RequestError("text", "is empty: say what is to be in the box, or give a picture of it")
