"""Where a rendering kept the lines of its drawing, lost them, or invented others."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.metrics import edges

from .cleaning import Mask

KEPT, LOST, INVENTED = (15, 118, 110), (217, 72, 15), (124, 58, 237)
FADED = 0.72  # how far the rendering fades to white behind the lines
SHOWN = 512  # pixels of the longer side of an overlay at least


@dataclass(frozen=True, kw_only=True)
class KeptLines:
    """The lines of a drawing against the edges of its rendering, each [H, W].

    kept      lines that the rendering shows within the tolerance
    lost      lines that it does not show
    found     edges of the rendering near a line
    invented  edges of the rendering where the drawing has no line
    """

    kept: Mask
    lost: Mask
    found: Mask
    invented: Mask

    @property
    def recall(self) -> float:
        """The share of the drawing's lines that were kept."""
        return _share(self.kept, self.lost)

    @property
    def precision(self) -> float:
        """The share of the rendering's edges that are lines of the drawing."""
        return _share(self.found, self.invented)

    @property
    def f1(self) -> float:
        """Edges F1: the harmonic mean of both shares."""
        return 2 * self.recall * self.precision / max(self.recall + self.precision, 1e-9)

    @property
    def numbers(self) -> dict[str, float]:
        """The three numbers by name, rounded."""
        return {name: round(getattr(self, name), 4) for name in ("f1", "recall", "precision")}


def _share(these: Mask, others: Mask) -> float:
    return float(these.sum()) / max(int(these.sum()) + int(others.sum()), 1)


def tolerance_of(size: tuple[int, int]) -> int:
    """How far an edge may be from its line, in pixels: 2, and from 512 pixels on 1/256 of the longer side."""
    return max(2, round(max(size) / 256))


def kept_lines(picture: Image.Image, lines: Mask) -> KeptLines:
    """Compare a rendering with the lines [H, W] of its drawing, one pixel wide, of the same size.

    Edges are canny's with thresholds 100 and 200, as in the tuner's adherence.
    """
    found, near = edges(np.asarray(picture.convert("RGB"))) > 0, tolerance_of(picture.size)
    at_edges, at_lines = _distance(found) <= near, _distance(lines) <= near
    return KeptLines(
        kept=lines & at_edges, lost=lines & ~at_edges, found=found & at_lines, invented=found & ~at_lines
    )


def _distance(mask: Mask) -> NDArray[np.float32]:
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def overlay(picture: Image.Image, compared: KeptLines) -> Image.Image:
    """The faded rendering with kept lines in green, lost ones in orange, invented edges in violet."""
    times = max(1, -(-SHOWN // max(picture.size)))
    size = picture.width * times, picture.height * times
    canvas = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.float32)
    canvas = canvas + FADED * (255 - canvas)
    for mask, colour in ((compared.invented, INVENTED), (compared.lost, LOST), (compared.kept, KEPT)):
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        canvas[large] = colour
    return Image.fromarray(np.rint(canvas).astype(np.uint8))
