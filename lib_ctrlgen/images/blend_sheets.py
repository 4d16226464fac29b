"""The combined pictures of a blend: a map of weights, or the strip of each trajectory."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.blend_map import map_size

from .animation import sheet


def blend_map(blend: Blend | None, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the map of a blend, made of its cells' pictures; none without a map or if some are missing."""
    if blend is None or not blend.explore:
        return []
    rows, columns = map_size(blend)
    return [sheet(images, columns)] if len(images) == rows * columns else []


def trajectories(blend: Blend | None, images: Sequence[Image.Image], batch: int) -> list[list[Image.Image]]:
    """Return the pictures of each trajectory, which is a complete batch of `batch` pictures."""
    if blend is None or blend.mode != "trajectory":
        return []
    starts = range(0, len(images) - batch + 1, batch)
    return [list(images[start : start + batch]) for start in starts]


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return the pictures of a trajectory side by side."""
    return sheet(pictures, len(pictures))
