"""Cleans the scan of a hand-drawn sheet: paper, light, shading and tilt go, lines stay.

The steps are those of document scanners: the paper's brightness is estimated by a closing and divided out,
lines are found by hysteresis in their contrast (Canny 1986, for the two thresholds), and the tilt is the
angle at which most line pixels share rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

LARGEST = 1024  # pixels of the longer side while cleaning
STRONG, WEAK = 0.5, 0.3  # contrast of a line's darkest and lightest parts, in shares of the darkest lines'
LEAST_CONTRAST = 0.12  # of the darkest lines, where white paper is 1
SHORTEST = 1 / 40  # the least extent of a line, in shares of the sheet's longer side
STEEPEST, FINEST = 5.0, 0.05  # degrees of the largest tilt that is straightened, and of the smallest
EDGE = 1 / 100  # the margin in which the edge of the scanned sheet may lie


@dataclass(frozen=True, kw_only=True)
class CleanDrawing:
    """The lines of a sheet.

    lines     where lines are, [H, W], straightened
    picture   the same in black on white, with smooth edges, RGB
    tilt      degrees, counterclockwise, by which the sheet was tilted
    inverted  whether the lines were lighter than the paper, as in a cyanotype
    share     the share of the sheet that lines cover
    """

    lines: Mask
    picture: Image.Image
    tilt: float
    inverted: bool

    @property
    def share(self) -> float:
        """The share of the sheet that lines cover."""
        return float(self.lines.mean())


def cleaned(picture: Image.Image) -> CleanDrawing:
    """The lines of a scanned or photographed sheet (RGB), at most 1024 pixels a side."""
    small = picture.convert("RGB")
    small.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    grey = _grey(small)
    inverted = float(np.median(grey)) < 0.5
    contrast = contrast_of(1 - grey if inverted else grey)
    tilt = tilt_of(found_lines(contrast))
    straight = _turned(contrast, -tilt) if abs(tilt) >= FINEST else contrast
    lines = found_lines(straight)
    return CleanDrawing(lines=lines, picture=_inked(straight, lines), tilt=tilt, inverted=inverted)


def _grey(picture: Image.Image) -> Grey:
    """Brightness 0..1: the brightest channel where colours are weak, so that a printed blue grid fades."""
    channels = np.asarray(picture, np.float32) / 255
    return np.asarray(0.5 * channels.max(2) + 0.5 * channels.mean(2), np.float32)


def contrast_of(grey: Grey) -> Grey:
    """How much darker than the paper around it each pixel is, 0..1, whatever the light."""
    reach = _odd(max(grey.shape) / 40)
    smooth = cv2.GaussianBlur(grey, (0, 0), max(grey.shape) / 1200)
    paper = cv2.morphologyEx(
        smooth, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    )
    paper = cv2.GaussianBlur(paper, (0, 0), reach / 4)
    return np.asarray(np.clip(1 - smooth / np.maximum(paper, 0.05), 0, 1), np.float32)


def _odd(size: float) -> int:
    return 2 * max(2, round(size / 2)) + 1


def found_lines(contrast: Grey) -> Mask:
    """Lines: connected parts with weak contrast that have strong contrast somewhere and are long enough."""
    darkest = _darkest(contrast)
    if darkest < LEAST_CONTRAST:
        return np.zeros(contrast.shape, np.bool_)
    weak = (contrast > WEAK * darkest) & ~dark_margins(contrast > WEAK * darkest)
    strong = weak & (contrast > STRONG * darkest)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8)
    held = np.zeros(count, np.bool_)
    held[np.unique(labels[strong])] = True
    extent = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    held &= extent >= SHORTEST * max(contrast.shape)
    held &= ~_at_edge(np.asarray(stats, np.int32), contrast.shape)
    held[0] = False
    return np.asarray(held[labels], np.bool_)


def dark_margins(dark: Mask) -> Mask:
    """What is dark behind the sheet: areas at the border of the picture that are much thicker than lines."""
    reach = _odd(max(dark.shape) / 60)
    square = np.ones((reach, reach), np.uint8)
    padded = cv2.copyMakeBorder(dark.astype(np.uint8), reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    thick = cv2.morphologyEx(padded, cv2.MORPH_OPEN, square)
    wide = cv2.dilate(thick, np.ones((3, 3), np.uint8))[reach:-reach, reach:-reach]
    _, parts = cv2.connectedComponents(wide, connectivity=8)
    border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.asarray(np.isin(parts, border[border > 0]), np.bool_)


def _darkest(contrast: Grey) -> float:
    """The contrast of the darkest lines: the 90th percentile of what stands out from the paper."""
    standing = contrast[contrast > LEAST_CONTRAST]
    return float(np.percentile(standing, 90)) if standing.size > 32 else 0.0


def _at_edge(stats: NDArray[np.int32], shape: tuple[int, ...]) -> Mask:
    """Which parts lie wholly in the margin, where the scanner shows the edge of the sheet."""
    height, width = shape
    margin = EDGE * max(shape)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    sides = (right < margin) | (left > width - margin) | (bottom < margin) | (top > height - margin)
    return np.asarray(sides, np.bool_)


def tilt_of(lines: Mask) -> float:
    """The tilt in degrees, counterclockwise: the angle whose row and column sums are the most uneven.

    Postl 1986, Detection of Linear Oblique Structures and Skew Scan in Digitized Documents.
    """
    y, x = np.nonzero(lines)
    if len(x) < 64:
        return 0.0
    step = max(1, len(x) // 40000)
    points = np.stack([x, y], 1)[::step] - np.array(lines.shape[::-1]) / 2
    coarse = _most_uneven(points, np.arange(-STEEPEST, STEEPEST + 0.1, 0.25))
    fine = _most_uneven(points, np.arange(coarse - 0.25, coarse + 0.26, 0.05))
    return 0.0 if abs(fine) > STEEPEST - 0.1 else float(round(fine, 2))


def _most_uneven(points: NDArray[np.float64], angles: NDArray[np.float64]) -> float:
    scores = [_unevenness(points, float(np.deg2rad(angle))) for angle in angles]
    return float(angles[int(np.argmax(scores))])


def _unevenness(points: NDArray[np.float64], angle: float) -> float:
    """The sum of squared counts of points by row and by column, after they are turned by `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos
    return sum(float((np.bincount(np.rint(v - v.min()).astype(int)) ** 2.0).sum()) for v in (across, down))


def _turned(field: Grey, degrees: float) -> Grey:
    height, width = field.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(field, turn, (width, height), flags=cv2.INTER_CUBIC), np.float32)


def _inked(contrast: Grey, lines: Mask) -> Image.Image:
    """The lines in black on white; their edges keep the smoothness of the scan."""
    darkest = max(_darkest(contrast), LEAST_CONTRAST)
    near = cv2.dilate(lines.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ink = np.clip((contrast / darkest - 0.5 * WEAK) / (STRONG - 0.5 * WEAK), 0, 1) * near
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8)).convert("RGB")
