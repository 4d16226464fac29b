"""The control maps of a cleaned drawing: one function per kind of control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.resize import thin

from .cleaning import CleanDrawing, Mask
from .regions import depth_of, segments_of

COVERED = 0.25  # the share of a pixel from which a line covers it
PAPER = 255


@dataclass(frozen=True, kw_only=True)
class ControlMap:
    """How the drawing becomes a unit's picture.

    about         what the map shows, for the report
    preprocessor  which of CtrlGen's preprocessors makes the network's map from the picture
    picture       from the drawing and its lines at the size of the rendering to the unit's picture
    """

    about: str
    preprocessor: str
    picture: Callable[[CleanDrawing, Mask], NDArray[np.uint8]]


def lines_at(lines: Mask, size: tuple[int, int]) -> Mask:
    """The lines at another size (width, height), one pixel wide; the drawing is not cut or stretched."""
    share = fitted(lines.astype(np.float32), size, 0.0)
    return thin(share >= COVERED * min(1.0, float(share.max(initial=0.0))) if share.any() else share > 0)


def fitted(pixels: NDArray[np.float32], size: tuple[int, int], border: float) -> NDArray[np.float32]:
    """Pixels [H, W] or [H, W, 3] resized into a width and height, their shape kept, the rest filled."""
    width, height = size
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    inner = min(width, round(pixels.shape[1] * scale)), min(height, round(pixels.shape[0] * scale))
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(pixels, inner, interpolation=filter_), np.float32)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    around = (top, height - inner[1] - top), (left, width - inner[0] - left)
    channels = ((0, 0),) if pixels.ndim == 3 else ()
    return np.asarray(np.pad(small, (*around, *channels), constant_values=border), np.float32)


def _thin_lines(_drawing: CleanDrawing, lines: Mask) -> NDArray[np.uint8]:
    return lines.astype(np.uint8) * 255


def _inked(drawing: CleanDrawing, lines: Mask) -> NDArray[np.uint8]:
    ink = np.asarray(drawing.picture.convert("L"), np.float32)
    return np.rint(fitted(ink, lines.shape[::-1], PAPER)).astype(np.uint8)


def _depth(drawing: CleanDrawing, lines: Mask) -> NDArray[np.uint8]:
    depth = depth_of(drawing.lines)
    outside = float(depth[0, 0])
    return np.rint(fitted(depth.astype(np.float32), lines.shape[::-1], outside)).astype(np.uint8)


def _segments(drawing: CleanDrawing, lines: Mask) -> NDArray[np.uint8]:
    """Colours are class names, so that none may be mixed: the nearest pixel is taken."""
    segments = segments_of(drawing.lines)
    height, width = lines.shape
    scale = min(width / segments.shape[1], height / segments.shape[0])
    x = (np.arange(width) - (width - segments.shape[1] * scale) / 2) / scale
    y = (np.arange(height) - (height - segments.shape[0] * scale) / 2) / scale
    columns = np.clip(x.astype(int), 0, segments.shape[1] - 1)
    rows = np.clip(y.astype(int), 0, segments.shape[0] - 1)
    return np.asarray(segments[rows[:, None], columns[None]], np.uint8)


# The kinds that are tried, in this order; the names are those of `lib_ctrlgen.forms.kinds`.
MAPS: Mapping[str, ControlMap] = MappingProxyType(
    {
        "lines": ControlMap(about="the cleaned lines", preprocessor="invert", picture=_inked),
        "edges": ControlMap(about="the middle of each line", preprocessor="none", picture=_thin_lines),
        "scribble": ControlMap(about="the cleaned lines", preprocessor="invert", picture=_inked),
        "straight_lines": ControlMap(
            about="the middle of each line", preprocessor="none", picture=_thin_lines
        ),
        "depth": ControlMap(about="how near each area between lines is", preprocessor="none", picture=_depth),
        "segmentation": ControlMap(
            about="what each area between lines is", preprocessor="none", picture=_segments
        ),
    }
)


def map_picture(kind: str, drawing: CleanDrawing, lines: Mask) -> Image.Image:
    """A unit's picture of a kind in the size of `lines`, which `lines_at` made."""
    return Image.fromarray(MAPS[kind].picture(drawing, lines)).convert("RGB")
