"""Where the product is in a picture of it: from a mask, from transparency, or from a plain background."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_bytes

Mask: TypeAlias = NDArray[np.bool_]
HALF = 127
PLAIN = 10.0  # the most that the colours of a plain background's border vary, in Lab (standard deviation)
APART = 18.0  # how far the product's colours are from a plain background's at least, in Lab
BORDER = 0.04  # the share of a side that counts as border
LEAST, MOST = 0.01, 0.95  # the shares of a picture that a product covers


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


def on_plain_background(picture: Image.Image) -> Mask | None:
    """What differs from a background of one colour; None if the border has several, or nothing differs."""
    lab = lab_of(picture)
    rim = border_of(lab)
    middle = np.median(rim, axis=0)
    if float(np.linalg.norm(rim - middle, axis=1).std()) > PLAIN:
        return None
    apart = (np.linalg.norm(lab - middle, axis=2) > APART).astype(np.uint8)
    whole = cv2.morphologyEx(apart, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole)
    if len(stats) < 2:
        return None
    largest = np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
    return largest if LEAST <= float(largest.mean()) <= MOST else None


def lab_of(picture: Image.Image) -> NDArray[np.float32]:
    """The pixels [H, W, 3] of an RGB picture in CIE Lab."""
    pixels = np.asarray(picture, np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), np.float32)


def border_of(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels [N, C] at the border of a picture [H, W, C]."""
    height, width = pixels.shape[:2]
    wide = max(1, round(BORDER * min(height, width)))
    inner = np.ones((height, width), bool)
    inner[wide:-wide, wide:-wide] = False
    return np.asarray(pixels[inner])


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
