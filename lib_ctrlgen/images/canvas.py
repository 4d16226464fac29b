"""The area that is generated (the picture, or the crop of "Only masked"), and fitting pictures to it."""

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
from .resize import Resize, fit_pixels, placed, soft


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of an init picture that is generated, when the WebUI inpaints "Only masked".

    box    left, top, right, bottom in pixels of the init picture
    whole  width and height of the init picture
    """

    box: tuple[int, int, int, int]
    whole: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """The pictures that one generation makes.

    pictures  the number of pictures
    together  how many of them are sampled as one batch, 0 for all of them
    img2img   whether they start from init pictures
    mask      the inpainting mask, of the init pictures' size; values above 127 are painted anew
    crop      the part of the init pictures that is generated, None for all of them
    """

    pictures: int = 1
    together: int = 0
    img2img: bool = False
    mask: Image.Image | None = None
    crop: Crop | None = None

    @property
    def batch(self) -> int:
        """The number of pictures of one batch."""
        return self.together or self.pictures


ONE_PICTURE = Canvas()


@dataclass(frozen=True)
class Frame:
    """How a unit's pictures are fitted to the generation: the resize mode, and a crop after resizing."""

    resize_mode: ResizeMode = "crop_and_resize"
    crop: Crop | None = None

    def fitted(self, picture: Image.Image, width: int, height: int, resize: Resize) -> Image.Image:
        """Fit a picture to `width` x `height` pixels; RGB."""
        return Image.fromarray(self.pixels(np.asarray(to_rgb(picture)), width, height, resize))

    def mask(
        self, picture: Image.Image, width: int, height: int, feather: float = 0.0
    ) -> NDArray[np.float32]:
        """Fit a mask to [height, width], values in 0..1 (see `images.masks.mask_values`).

        It is blurred by a Gaussian of sigma `feather` pixels of the generation.
        """
        values = self.pixels(mask_values(picture), width, height, soft)
        return feathered(values, feather) if feather > 0 else values

    def pixels(self, pixels: NDArray[Any], width: int, height: int, resize: Resize) -> NDArray[Any]:
        """Fit an array [H, W, ...] to [height, width, ...]."""
        if self.crop is None:
            return fit_pixels(pixels, width, height, self.resize_mode, resize)
        left, top, right, bottom = self.crop.box
        whole = fit_pixels(pixels, *self.crop.whole, self.resize_mode, resize)
        return framed(whole[top:bottom, left:right], width, height, resize)

    def box(self, size: tuple[int, int], width: int, height: int) -> tuple[float, float, float, float]:
        """Where `fitted` puts a picture of `size` (width, height): left, top, width and height in pixels."""
        if self.crop is None:
            return placed(size, width, height, self.resize_mode)
        left, top, across, down = placed(size, *self.crop.whole, self.resize_mode)
        box = self.crop.box
        part = box[2] - box[0], box[3] - box[1]
        x, y, inner_width, inner_height = _inner(part, width, height)
        scale_x, scale_y = inner_width / part[0], inner_height / part[1]
        return (
            x + (left - box[0]) * scale_x,
            y + (top - box[1]) * scale_y,
            across * scale_x,
            down * scale_y,
        )


def framed(part: NDArray[Any], width: int, height: int, resize: Resize) -> NDArray[Any]:
    """Fit [H, W, ...] inside [height, width, ...] and repeat its border outside, as the WebUI does."""
    left, top, across, down = _inner((part.shape[1], part.shape[0]), width, height)
    around = ((top, height - down - top), (left, width - across - left), *[(0, 0)] * (part.ndim - 2))
    return np.pad(resize(np.ascontiguousarray(part), across, down), around, mode="edge")


def _inner(size: tuple[int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """Where `framed` puts a part of `size` (width, height): left, top, width and height in pixels."""
    wide = width / height < size[0] / size[1]
    across = width if wide else max(1, size[0] * height // size[1])
    down = max(1, size[1] * width // size[0]) if wide else height
    return width // 2 - across // 2, height // 2 - down // 2, across, down


def feathered(mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur a mask [H, W] with a Gaussian kernel of four sigmas; pixels of the border are repeated outside."""
    reach = 2 * math.ceil(4 * sigma) + 1
    blurred = cv2.GaussianBlur(mask, (reach, reach), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)
