"""Finds people and animals with YOLOX (Ge, Liu, Wang, Li and Sun 2021), trained on COCO's 80 classes.

The network's output [1, N, 85] has a row for each cell of three grids, with strides of 8, 16 and 32 pixels,
row by row: the middle of a box as an offset from the cell, in strides; the logarithms of its width and height
in strides; its objectness, and the 80 probabilities of classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.boxes import distinct
from lib_ctrlgen.images.poses.openpose_json import MOST
from lib_ctrlgen.models.onnx import Array, OnnxNetwork
from lib_ctrlgen.preprocessors.network import Pixels

STRIDES, NUMBERS = (8, 16, 32), 85
SIDE, GREY = 640, 114
MOST_OVERLAP = 0.45
LARGEST_LOGARITHM = 10.0  # of a box's side in strides: more than any picture
PEOPLE = (0,)
ANIMALS = tuple(range(14, 24))  # bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe


def found_boxes(network: OnnxNetwork, pixels: Pixels, classes: Sequence[int], least: float) -> Array:
    """The boxes [N, 4] (left, top, right, bottom in pixels) of these classes, the most certain first.

    `pixels` [H, W, 3] are RGB; the network sees them with blue first. `least` is the lowest confidence of a
    box. Raises ModelError for another network.
    """
    size = network.fixed_size or (SIDE, SIDE)
    seen, scale = letterboxed(pixels[..., ::-1], size)
    outputs = network(np.ascontiguousarray(seen.astype(np.float32).transpose(2, 0, 1)[None]))
    rows = decoded(outputs, size, network.name)
    scores = rows[:, 4:5] * rows[:, 5:]
    found, certain = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for number in classes:
        sure = np.flatnonzero(scores[:, number] > least)
        boxes, own = rows[sure, :4] / scale, scores[sure, number]
        kept = distinct(boxes, own, MOST_OVERLAP)
        found.append(boxes[kept])
        certain.append(own[kept])
    order = np.argsort(-np.concatenate(certain), kind="stable")[:MOST]
    return np.asarray(np.concatenate(found)[order])


def letterboxed(pixels: Pixels, size: tuple[int, int]) -> tuple[Pixels, float]:
    """The picture in the left upper corner of a grey one of `size` (width, height), and its scale there."""
    height, width = pixels.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    fitted = max(1, int(width * scale)), max(1, int(height * scale))
    canvas = np.full((size[1], size[0], 3), GREY, np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(pixels, fitted, interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def decoded(outputs: Sequence[Array], size: tuple[int, int], name: str) -> Array:
    """The rows [N, 85] with boxes as left, top, right and bottom in the input's pixels. Raises ModelError."""
    cells, strides = grid(size)
    if len(outputs) != 1 or outputs[0].shape != (1, len(cells), NUMBERS):
        shapes = [each.shape for each in outputs]
        raise ModelError(f"{name} is not a YOLOX detector for COCO's classes: its outputs are {shapes}")
    rows = outputs[0][0]
    middle = (rows[:, :2] + cells) * strides
    half = np.exp(np.minimum(rows[:, 2:4], LARGEST_LOGARITHM)) * strides / 2
    return np.concatenate((middle - half, middle + half, rows[:, 4:]), axis=1)


def grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """The cell (x, y) [N, 2] and the stride [N, 1] of each row, for an input of `size` (width, height)."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells.append(np.stack((x, y), axis=-1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
