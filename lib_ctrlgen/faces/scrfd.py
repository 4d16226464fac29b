"""Finds boxes and five points of faces with an SCRFD network (Guo et al. 2021), as insightface does.

The network's nine outputs are, for the strides 8, 16 and 32, the scores [N, 1], then for the same strides the
boxes [N, 4], then the points [N, 10]. The rows are the cells of the stride's grid, row by row, with two rows
for each cell. Boxes are the distances from the cell's corner to the left, top, right and bottom sides, points
their offsets from it, both in units of the stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.boxes import distinct
from lib_ctrlgen.models.onnx import Array, OnnxNetwork

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]

STRIDES, PER_CELL, POINTS = (8, 16, 32), 2, 5
MEAN, SCALE = np.float32(127.5), np.float32(1 / 128)
LEAST_SCORE, MOST_OVERLAP = 0.5, 0.4


@dataclass(frozen=True, kw_only=True)
class Detections:
    """N faces: boxes [N, 4] as left, top, right, bottom; points [N, 5, 2] as x, y; scores [N]. In pixels."""

    boxes: Array
    points: Array
    scores: Array

    def take(self, rows: npt.NDArray[np.intp]) -> Detections:
        """Some of them, in this order."""
        return Detections(boxes=self.boxes[rows], points=self.points[rows], scores=self.scores[rows])


def detect(network: OnnxNetwork, pixels: Pixels, size: Size) -> Detections:
    """The faces of an RGB array [H, W, 3], the most certain first.

    The picture is scaled to fit into `size` (width, height) and put into its left upper corner, on black.
    Raises ModelError where the network is no SCRFD network with points.
    """
    shown, scale = letterboxed(pixels, size)
    planes = (shown.astype(np.float32) - MEAN) * SCALE
    outputs = network(np.ascontiguousarray(planes.transpose(2, 0, 1)[None]))
    raw = decoded(outputs, size, network.name)
    found = Detections(boxes=raw.boxes / scale, points=raw.points / scale, scores=raw.scores)
    return found.take(distinct(found.boxes, found.scores, MOST_OVERLAP))


def letterboxed(pixels: Pixels, size: Size) -> tuple[Pixels, np.float32]:
    """The picture in the left upper corner of a black one of `size`, and its scale there."""
    width, height = size
    ratio = pixels.shape[0] / pixels.shape[1]
    if ratio > height / width:
        fitted = max(1, int(height / ratio)), height
    else:
        fitted = width, max(1, int(width * ratio))
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(pixels, fitted)
    return canvas, np.float32(fitted[1] / pixels.shape[0])


def decoded(outputs: Sequence[Array], size: Size, name: str) -> Detections:
    """All faces of a score of at least 0.5, in the pixels of the network's input. Raises ModelError."""
    levels = len(STRIDES)
    if len(outputs) != 3 * levels:
        raise ModelError(
            f"{name} is not a face detector with five points: it has {len(outputs)} outputs, not 9"
        )
    found = []
    for number, stride in enumerate(STRIDES):
        scores, boxes, points = (_rows(outputs[number + part * levels]) for part in range(3))
        cells = anchors(size, stride)
        if [each.shape for each in (scores, boxes, points)] != [(len(cells), n) for n in (1, 4, 2 * POINTS)]:
            raise ModelError(f"{name} is not a face detector with five points: its outputs have other shapes")
        sure = np.flatnonzero(scores[:, 0] >= LEAST_SCORE)
        found.append(_placed(scores[sure, 0], boxes[sure] * stride, points[sure] * stride, cells[sure]))
    return Detections(
        boxes=np.concatenate([each.boxes for each in found]),
        points=np.concatenate([each.points for each in found]),
        scores=np.concatenate([each.scores for each in found]),
    )


def _rows(output: Array) -> Array:
    """An output without the batch, which some exports have."""
    return output[0] if output.ndim == 3 else output


def _placed(scores: Array, distances: Array, offsets: Array, cells: Array) -> Detections:
    boxes = np.concatenate((cells - distances[:, :2], cells + distances[:, 2:]), axis=1)
    points = cells[:, None] + offsets.reshape(-1, POINTS, 2)
    return Detections(boxes=boxes, points=points, scores=scores)


def anchors(size: Size, stride: int) -> Array:
    """The corner (x, y) [N, 2] that each row of a stride's outputs is measured from."""
    columns, rows = size[0] // stride, size[1] // stride
    y, x = np.mgrid[:rows, :columns]
    cells = np.stack((x, y), axis=-1).reshape(-1, 2).astype(np.float32) * np.float32(stride)
    return np.repeat(cells, PER_CELL, axis=0)
