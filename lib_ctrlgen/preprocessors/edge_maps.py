"""What several edge detectors do with the probability of an edge, as sd-webui-controlnet does it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .network import Map, Pixels

SIGMA = 3.0  # pixels, of both blurs of `strokes`
RIDGE, STROKE = 127.0, 4  # grey levels: the least of a ridge, and the least of a blurred ridge in a stroke
# The neighbours along four directions: a pixel that is the largest among them is on a ridge.
DIRECTIONS = tuple(
    np.array(rows, np.uint8)
    for rows in (
        ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
        ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    )
)


def stepped(edge: Map, steps: int = 2) -> Map:
    """Edges in 0..1 rounded down to `steps` + 1 levels, so that nothing can be hidden in faint ones.

    This is what "safe" means in sd-webui-controlnet. Without steps the edges are unchanged.
    """
    return np.trunc(edge * (steps + 1)).astype(np.float32) / np.float32(steps) if steps else edge


def fused(outputs: Iterable[Any], width: int, height: int) -> Map:
    """The probability of an edge: the sigmoid of the mean of logits [1, 1, h, w], each resized linearly."""
    logits = [output.float().cpu().numpy()[0, 0] for output in outputs]
    same = [cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in logits]
    return np.asarray(1 / (1 + np.exp(-np.mean(same, axis=0, dtype=np.float64))), np.float32)


def strokes(edges: Pixels) -> Pixels:
    """Edges in grey levels as white strokes of one width on black: blurred ridges above a threshold."""
    ridges = np.where(ridge_heights(edges) > RIDGE, 255, 0).astype(np.uint8)
    wide = np.asarray(cv2.GaussianBlur(ridges, (0, 0), SIGMA))
    return np.where(wide > STROKE, 255, 0).astype(np.uint8)


def ridge_heights(edges: Pixels) -> NDArray[np.float32]:
    """The blurred edges where they are the largest along one of four directions, 0 elsewhere."""
    smooth = np.asarray(cv2.GaussianBlur(edges.astype(np.float32), (0, 0), SIGMA))
    highest = np.zeros(smooth.shape, np.bool_)
    for direction in DIRECTIONS:
        highest |= np.asarray(cv2.dilate(smooth, direction)) == smooth
    return np.where(highest, smooth, np.float32(0))
