"""A picture of the training, and how it is read: RGB with its mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.backdrop import subject_before
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_bytes


@dataclass(frozen=True, kw_only=True)
class View:
    """A checked picture: its file, size in pixels, caption, mask file, and a hash of its content.

    mask      a file with the mask; None where the alpha channel is the mask (`alpha`), or there is none
    backdrop  what is behind the subject, from which its mask is found (`images.backdrop`); empty without
    """

    path: Path
    width: int
    height: int
    caption: str
    digest: str
    mask: Path | None = None
    alpha: bool = False
    backdrop: str = ""

    @property
    def masked(self) -> bool:
        """Whether it is known where the subject is."""
        return self.alpha or self.mask is not None or bool(self.backdrop)

    def read(self) -> tuple[Image.Image, NDArray[np.float32] | None]:
        """The RGB picture, and where the subject is, [H, W] in 0..1. Raises RequestError."""
        image = decode_bytes(self.path.read_bytes(), self.path.name)
        if self.mask is not None:
            return to_rgb(image), mask_of(self.mask)
        if self.alpha:
            return image.convert("RGB"), opacity_of(image)
        picture = to_rgb(image)
        if self.backdrop:
            return picture, subject_before(picture, self.backdrop, self.path.name)
        return picture, None


def mask_of(path: Path) -> NDArray[np.float32]:
    """A mask file as [H, W] in 0..1, white is 1. Raises RequestError."""
    return _shares(to_rgb(decode_bytes(path.read_bytes(), path.name)).convert("L"))


def opacity_of(image: Image.Image) -> NDArray[np.float32]:
    """The alpha channel of a picture as [H, W] in 0..1."""
    return _shares(image.getchannel("A"))


def _shares(grey: Image.Image) -> NDArray[np.float32]:
    return np.asarray(grey, np.float32) / np.float32(255)
