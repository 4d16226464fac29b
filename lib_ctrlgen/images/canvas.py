"""What a host paints on, and how a unit's pictures lie on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.request.unit import ResizeMode

from .codec import to_rgb
from .masks import mask_values
from .resize import Resize, fit_pixels, soft


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part that alone is painted: the box (left, top, right, bottom) of a picture of this size.

    The WebUI's inpainting calls it "Only masked".
    """

    box: tuple[int, int, int, int]
    whole: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What a host makes.

    pictures: how many; img2img: whether from pictures of its own; mask: white (above 127) where it paints
    them anew, of their size; crop: the part of them that it paints, if not all.
    """

    pictures: int = 1
    img2img: bool = False
    mask: Image.Image | None = None
    crop: Crop | None = None


ONE_PICTURE = Canvas()


@dataclass(frozen=True)
class Frame:
    """How a unit's pictures are brought to a size: its resize mode, and what is cut out after it."""

    resize_mode: ResizeMode = "crop_and_resize"
    crop: Crop | None = None

    def fitted(self, picture: Image.Image, width: int, height: int, resize: Resize) -> Image.Image:
        """A picture at `width` x `height` pixels, as RGB."""
        return Image.fromarray(self.pixels(np.asarray(to_rgb(picture)), width, height, resize))

    def mask(
        self, picture: Image.Image, width: int, height: int, feather: float = 0.0
    ) -> NDArray[np.float32]:
        """What a mask means (`masks.mask_values`) at a size [height, width], in 0..1.

        Softened by a Gaussian of sigma `feather` pixels.
        """
        values = self.pixels(mask_values(picture), width, height, soft)
        return feathered(values, feather) if feather > 0 else values

    def pixels(self, pixels: NDArray[Any], width: int, height: int, resize: Resize) -> NDArray[Any]:
        """An array [H, W, ...] as [height, width, ...]."""
        if self.crop is None:
            return fit_pixels(pixels, width, height, self.resize_mode, resize)
        left, top, right, bottom = self.crop.box
        whole = fit_pixels(pixels, *self.crop.whole, self.resize_mode, resize)
        return framed(whole[top:bottom, left:right], width, height, resize)


def framed(part: NDArray[Any], width: int, height: int, resize: Resize) -> NDArray[Any]:
    """[H, W, ...] inside [height, width, ...], its border repeated around it: as the WebUI lays a part."""
    own_height, own_width = part.shape[:2]
    wide = width / height < own_width / own_height
    size = (
        width if wide else max(1, own_width * height // own_height),
        max(1, own_height * width // own_width) if wide else height,
    )
    left, top = width // 2 - size[0] // 2, height // 2 - size[1] // 2
    around = ((top, height - size[1] - top), (left, width - size[0] - left), *[(0, 0)] * (part.ndim - 2))
    return np.pad(resize(np.ascontiguousarray(part), *size), around, mode="edge")


def feathered(mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """[H, W] under a Gaussian that reaches four sigmas; beyond the border lies what lies at it."""
    reach = 2 * math.ceil(4 * sigma) + 1
    blurred = cv2.GaussianBlur(mask, (reach, reach), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)
