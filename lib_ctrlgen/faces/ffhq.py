"""Aligns a face as the data set FFHQ does, with more of the head than ArcFace's template shows (facexlib)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .align import similarity
from .face import Point

SIZE = 512
TEMPLATE = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
GROUND = (132, 133, 135)  # RGB of what is outside of the picture


def ffhq_crop(picture: Image.Image, points: Sequence[Point]) -> Image.Image:
    """The face with these five points, turned upright, 512 x 512, as RGB.

    Raises ModelError for five points of which no position follows.
    """
    matrix = similarity(np.asarray(points, float), np.asarray(TEMPLATE, float))
    pixels = np.asarray(picture.convert("RGB"))
    found = cv2.warpAffine(pixels, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_CONSTANT, borderValue=GROUND)
    return Image.fromarray(np.asarray(found, np.uint8))
