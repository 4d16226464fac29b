"""The texture of what stands before a background, by which colours lie how far apart.

Huang et al. 1997, Image Indexing Using Color Correlograms; here over the eight colours of the palette, in all
directions, and only on the subject.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .metrics import PALETTE, Image, colour_names

DISTANCES = (3, 8, 16)  # pixels
RIM = 4  # pixels at the border that show the background


def pattern_likeness(picture: Image, reference: Image) -> float:
    """How like the subjects of two pictures [H, W, 3] are in colours and in their arrangement, 0..1.

    1 for equal shares of all pairs of colours at each distance, 0 for no common pair, or no subject. A
    subject is everything that has not the most frequent colour of the border. A plain subject is not like a
    striped one of the same colours, because its neighbours are equal.
    """
    ours, theirs = correlogram(picture), correlogram(reference)
    return float(np.minimum(ours, theirs).sum() / len(DISTANCES))


def correlogram(picture: Image) -> NDArray[np.float64]:
    """The share [3, 8, 8] of each pair of colours among pixels of the subject at each distance."""
    labels = colour_names(np.asarray(cv2.medianBlur(picture, 5), np.uint8))
    subject = labels != _background(labels)
    return np.stack([_pairs(labels, subject, distance) for distance in DISTANCES])


def _background(labels: NDArray[np.intp]) -> int:
    inner = np.zeros(labels.shape, bool)
    inner[RIM:-RIM, RIM:-RIM] = True
    return int(np.bincount(labels[~inner]).argmax())


def _pairs(labels: NDArray[np.intp], subject: NDArray[np.bool_], distance: int) -> NDArray[np.float64]:
    """The shares [8, 8] of pairs of colours that lie `distance` pixels apart, in four directions."""
    counts = np.zeros((len(PALETTE), len(PALETTE)))
    step = round(distance / 2**0.5)
    for down, right in ((0, distance), (distance, 0), (step, step), (step, -step)):
        one, other = _shifted(labels, down, right)
        both = np.logical_and(*_shifted(subject, down, right))
        np.add.at(counts, (one[both], other[both]), 1)
    whole = counts + counts.T
    return np.asarray(whole / max(whole.sum(), 1), np.float64)


def _shifted(values: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """The values, and those `down` and `right` of them, where both exist."""
    height, width = values.shape
    left = slice(max(0, -right), width - max(0, right))
    there = slice(max(0, right), width - max(0, -right))
    return values[: height - down, left], values[down:, there]
