"""The depth picture that says where the product stands: its silhouette, placed into an environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.backdrop import Mask
from lib_ctrlgen.projects.sources import FoundFile, read_source

from .environments import Environment
from .silhouette import box_of

FAR, FLOOR = 36.0, 58.0  # depth of 0..255 at the top and at the bottom of a plain room
NEAR, BULGE = 205.0, 30.0  # of the product: its rim, and how much nearer its middle is
MARGIN = 0.08  # around the product, as a share of its longer side


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A depth picture, and the product's box in it: left, top, right, bottom in pixels, with a margin."""

    depth: Image.Image
    box: tuple[int, int, int, int]


def placed(environment: Environment, silhouette: Mask, side: int) -> Placed:
    """The environment's depth with the product in it, a square of `side` pixels. Raises RequestError."""
    behind = background_depth(environment, side)
    shape = _scaled(silhouette, environment.share * side)
    height, width = shape.shape
    left, top = _at(environment.x, width, side), _at(environment.y, height, side)
    window = behind[top : top + height, left : left + width]
    body = NEAR + BULGE * _bulge(shape)
    nearest = max(0.0, float(np.where(shape, window, 0).max(initial=0.0)) + 10 - NEAR)
    window[shape] = np.minimum(255, body + nearest)[shape]
    margin = round(MARGIN * max(height, width))
    box = max(0, left - margin), max(0, top - margin), left + width + margin, top + height + margin
    picture = Image.fromarray(np.rint(behind).astype(np.uint8)).convert("RGB")
    return Placed(depth=picture, box=(*box[:2], min(side, box[2]), min(side, box[3])))


def background_depth(environment: Environment, side: int) -> NDArray[np.float32]:
    """The depth of the empty environment, 0..255, [side, side]: its picture, else a plain room."""
    if environment.depth:
        path = Path(environment.depth)
        picture = read_source(FoundFile(path=path, name=path.stem)).convert("L")
        short = min(picture.size)
        left, top = (picture.width - short) // 2, (picture.height - short) // 2
        square = picture.crop((left, top, left + short, top + short))
        return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS), np.float32).copy()
    rows = np.linspace(FAR, FLOOR, side, dtype=np.float32)
    return np.repeat(rows[:, None], side, axis=1)


def _scaled(silhouette: Mask, longest: float) -> Mask:
    """The silhouette, cut to its box, with a longer side of about `longest` pixels."""
    left, top, right, bottom = box_of(silhouette)
    shape = silhouette[top:bottom, left:right].astype(np.float32)
    scale = longest / max(shape.shape)
    size = max(1, round(shape.shape[1] * scale)), max(1, round(shape.shape[0] * scale))
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    found = np.asarray(cv2.resize(shape, size, interpolation=filter_) >= 0.5)
    return found if found.any() else np.ones_like(found)


def _bulge(shape: Mask) -> NDArray[np.float32]:
    """0 at the rim of a shape and 1 where it is farthest from it."""
    padded = np.pad(shape.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(np.sqrt(distance / max(1.0, float(distance.max()))), np.float32)


def _at(middle: float, length: int, side: int) -> int:
    """The first pixel of a length with this middle, so that it lies inside the picture."""
    return int(np.clip(round(middle * side - length / 2), 0, side - length))
