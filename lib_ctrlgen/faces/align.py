"""Aligns a face to ArcFace's template by its five points (Deng et al. 2019; insightface's `norm_crop`)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lib_ctrlgen.errors import ModelError

from .face import Point

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

TEMPLATE_SIZE, WIDE_SIZE, WIDE_MARGIN = 112, 128, 8.0
# Where a face of 112 x 112 pixels has its eyes, its nose and the corners of its mouth.
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def norm_crop(picture: Image.Image, points: Sequence[Point], size: int) -> Image.Image:
    """The face with these five points, turned upright and scaled to `size` x `size` pixels, as RGB.

    `size` is a multiple of 112 or of 128. What is outside of the picture is black. Raises ModelError for
    five points of which no position follows.
    """
    return Image.fromarray(aligned(np.asarray(picture.convert("RGB")), points, size))


def aligned(pixels: Pixels, points: Sequence[Point], size: int) -> Pixels:
    """As `norm_crop`, of an array [H, W, 3]."""
    matrix = similarity(np.asarray(points, float), template(size))
    return np.asarray(cv2.warpAffine(pixels, matrix, (size, size), borderValue=(0, 0, 0)), np.uint8)


def template(size: int) -> Floats:
    """The five points [5, 2] in an aligned face of `size` pixels.

    Multiples of 112 scale the template of 112 pixels. Multiples of 128 scale it with 8 more pixels on both
    sides and 16 below. Raises ValueError for other sizes.
    """
    points: Floats = np.asarray(TEMPLATE, np.float64)
    if size > 0 and size % TEMPLATE_SIZE == 0:
        return points * (size / TEMPLATE_SIZE)
    if size > 0 and size % WIDE_SIZE == 0:
        points += np.array([WIDE_MARGIN, 0.0])
        return points * (size / WIDE_SIZE)
    raise ValueError(
        f"the size of an aligned face is a multiple of {TEMPLATE_SIZE} or {WIDE_SIZE}, not {size}"
    )


def similarity(points: Floats, goal: Floats) -> Floats:
    """The rotation, scale and shift [2, 3] that maps `points` [N, 2] to `goal` with the least squared error.

    Umeyama 1991, Least-squares estimation of transformation parameters between two point patterns; without
    reflection. Raises ModelError where all points are the same, or not finite.
    """
    if not np.isfinite(points).all() or float(np.ptp(points, axis=0).max()) <= 0:
        raise ModelError("the five points of the face are at one place, so it cannot be turned upright")
    middle, goal_middle = points.mean(axis=0), goal.mean(axis=0)
    centred, goal_centred = points - middle, goal - goal_middle
    variance = float((centred**2).sum()) / len(points)
    left, stretch, right = np.linalg.svd(goal_centred.T @ centred / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    linear = (left * signs) @ right * (float(stretch @ signs) / variance)
    return np.column_stack((linear, goal_middle - linear @ middle))
