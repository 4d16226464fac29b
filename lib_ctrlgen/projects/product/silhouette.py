"""Where the product is in a picture of it: from a mask, from transparency, or from a plain background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.backdrop import Mask, on_plain_background
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_bytes

HALF = 127


def mask_in(picture: Image.Image, mask_file: Path | None) -> Mask | None:
    """Where the product is, [H, W]; None if there is no mask and the background is not plain.

    Raises RequestError for a mask of another size, or one that is empty.
    """
    if mask_file is not None:
        return _of_file(mask_file, picture.size)
    if "A" in picture.getbands():
        alpha = np.asarray(picture.getchannel("A"))
        if (alpha < HALF).any() and (alpha > HALF).any():
            return np.asarray(alpha > HALF)
    return on_plain_background(to_rgb(picture))


def _of_file(file: Path, size: tuple[int, int]) -> Mask:
    picture = to_rgb(decode_bytes(file.read_bytes(), str(file))).convert("L")
    if picture.size != size:
        raise RequestError(
            str(file), f"the mask has {picture.size[0]} x {picture.size[1]} pixels, its picture {size}"
        )
    found = np.asarray(picture) > HALF
    if not found.any():
        raise RequestError(str(file), "the mask is black everywhere; it is white where the product is")
    return np.asarray(found)


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of what a mask covers, right and bottom exclusive."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cut_out(picture: Image.Image, mask: Mask | None) -> Image.Image:
    """The product alone on white; the whole picture without a mask."""
    pixels = np.asarray(to_rgb(picture))
    if mask is None:
        return Image.fromarray(pixels)
    return Image.fromarray(np.where(mask[..., None], pixels, np.uint8(255)))
