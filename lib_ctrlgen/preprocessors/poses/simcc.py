"""Finds the keypoints in a box with RTMPose (Jiang et al. 2023) or DWPose (Yang et al. 2023).

The network returns a vector over x and one over y for each keypoint (SimCC, Li et al. 2022), with two numbers
for each pixel of its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.onnx import Array, OnnxNetwork
from lib_ctrlgen.preprocessors.network import MEAN, SPREAD, Pixels, fractions, normalised

PER_PIXEL = 2.0
MARGIN = 1.25  # the part of the picture that the network sees, in sides of the box


@dataclass(frozen=True)
class Window:
    """A part of a picture: its middle (x, y), and its width and height, in pixels."""

    middle: tuple[float, float]
    sides: tuple[float, float]

    @staticmethod
    def around(box: Array, proportion: float) -> Window:
        """A box (left, top, right, bottom) with its margin, grown to a proportion of width to height."""
        left, top, right, bottom = map(float, box)
        width, height = (right - left) * MARGIN, (bottom - top) * MARGIN
        width, height = max(width, height * proportion), max(height, width / proportion)
        return Window(((left + right) / 2, (top + bottom) / 2), (max(width, 1.0), max(height, 1.0)))

    def seen(self, pixels: Pixels, size: tuple[int, int]) -> Pixels:
        """This part of pixels [H, W, 3], scaled to `size` (width, height); black outside of the picture."""
        scales = [goal / side for goal, side in zip(size, self.sides, strict=True)]
        shifts = [goal / 2 - x * scale for goal, x, scale in zip(size, self.middle, scales, strict=True)]
        matrix = np.array([[scales[0], 0, shifts[0]], [0, scales[1], shifts[1]]])
        return np.asarray(cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)


def keypoints(
    network: OnnxNetwork, pixels: Pixels, box: Array, size: tuple[int, int], count: int
) -> tuple[Array, Array]:
    """The keypoints [K, 2] (x, y in pixels) in a box of RGB pixels [H, W, 3], and their confidences [K].

    `size` is the width and height of the network's input if it has no fixed one. Raises ModelError for a
    network with another number of keypoints than `count`.
    """
    size = network.fixed_size or size
    window = Window.around(box, size[0] / size[1])
    inputs = normalised(fractions(window.seen(pixels, size)), MEAN, SPREAD)
    outputs = network(np.ascontiguousarray(inputs.transpose(2, 0, 1)[None]))
    wanted = [(1, count, int(side * PER_PIXEL)) for side in size]
    if [each.shape for each in outputs] != wanted:
        shapes = [each.shape for each in outputs]
        raise ModelError(f"{network.name} is not RTMPose with {count} keypoints: its outputs are {shapes}")
    places, certain = decoded(outputs[0][0], outputs[1][0])
    shares = places / np.asarray(size, np.float32) - 0.5
    return np.asarray(shares * window.sides + window.middle, np.float32), certain


def decoded(over_x: Array, over_y: Array) -> tuple[Array, Array]:
    """The keypoints [K, 2] in pixels of the input, of vectors [K, 2W] and [K, 2H], and their confidences.

    A keypoint is where its vectors are highest; its confidence is the lower one of these two values, 0..1.
    """
    places = np.stack((over_x.argmax(1), over_y.argmax(1)), axis=1) / PER_PIXEL
    certain = np.minimum(over_x.max(1), over_y.max(1)).clip(0, 1)
    return places.astype(np.float32), certain


def marked(places: Array, certain: Array, least: float) -> list[tuple[float, float] | None]:
    """The keypoints (x, y) of at least a confidence; None for the others, and for those of confidence 0."""
    sure: Sequence[bool] = ((certain > 0) & (certain >= least)).tolist()
    return [(x, y) if kept else None for (x, y), kept in zip(places.tolist(), sure, strict=True)]
