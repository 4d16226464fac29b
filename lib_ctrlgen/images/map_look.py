"""Whether a picture is surely a control map: a drawn pose, lines on black, or normals.

Depth maps are not among them: a small copy of a grey photo looks the same.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MapLook = Literal["", "skeleton", "lines", "normals"]
Colours = NDArray[np.float64]

BLACK, BRIGHT = 16, 215  # the largest channel of a black pixel (after JPEG), and the least of a bright one
GROUND = 0.7  # the least share of black pixels around a skeleton or lines
LEAST = 0.0025  # the least share of pixels that are drawn
HUES, NEAR = 18, 0.3  # of a skeleton's limbs, evenly around the colour circle; how far a hue is from one
FULL = 48  # the largest darkest channel of a full colour
LENGTH = 0.08  # how far the length of a normal may be from 1


def map_look(picture: Image.Image) -> MapLook:
    """Return what kind of control map a picture is, or empty where a photo or a drawing could look alike.

    A copy of 48 pixels a side is enough, if it was made without smoothing.
    """
    colours = np.asarray(picture.convert("RGB"), np.float64).reshape(-1, 3)
    if _is_normals(colours):
        return "normals"
    drawn = colours[colours.max(1) > BLACK]
    share = len(drawn) / len(colours)
    if not LEAST <= share <= 1 - GROUND:
        return ""
    if _is_skeleton(drawn):
        return "skeleton"
    return "lines" if _is_lines(colours, drawn) else ""


def _is_skeleton(drawn: Colours) -> bool:
    """Whether most drawn pixels have the full colours of limbs, and of several limbs.

    Red, yellow, green, ... are not counted: every colour becomes one of them if its contrast is raised.
    """
    high, low = drawn.max(1), drawn.min(1)
    limbs = drawn[(low <= FULL) & (high >= 128)]
    if len(limbs) < 0.6 * len(drawn):
        return False
    places = _hues(limbs) * HUES
    near = np.abs(places - places.round()) <= NEAR
    found = places.round()[near] % HUES
    mixed = found[found % (HUES // 6) > 0]
    return bool(near.mean() >= 0.75 and len(mixed) >= 0.3 * len(limbs) and len(set(mixed)) >= 3)


def _is_lines(colours: Colours, drawn: Colours) -> bool:
    """Whether the drawn pixels are white, and few of them lie inside of an area."""
    if (np.ptp(colours, 1) > 2 * BLACK).mean() > 0.01 or (drawn.max(1) >= BRIGHT).mean() < 0.8:
        return False
    side = int(len(colours) ** 0.5)
    white = (colours.max(1) > BLACK)[: side * side].reshape(side, side)
    inner = white[1:-1, 1:-1] & white[:-2, 1:-1] & white[2:, 1:-1] & white[1:-1, :-2] & white[1:-1, 2:]
    return bool(inner.sum() <= 0.1 * white.sum())


def _is_normals(colours: Colours) -> bool:
    """Whether colours are directions of length 1 which differ and mostly face the viewer."""
    directions = colours / 127.5 - 1
    unit = np.abs(np.linalg.norm(directions, axis=1) - 1) <= LENGTH
    varied = directions[:, :2].std(0).min() >= 0.1
    return bool(unit.mean() >= 0.95 and varied and (directions[:, 2] > 0).mean() >= 0.9)


def _hues(colours: Colours) -> NDArray[np.float64]:
    """The hues of coloured pixels [N, 3], from 0 to 1 around the colour circle."""
    red, green, blue = colours.T
    high, low = colours.max(1), colours.min(1)
    width = np.maximum(high - low, 1)
    sixths = np.where(
        high == red,
        (green - blue) / width,
        np.where(high == green, 2 + (blue - red) / width, 4 + (red - green) / width),
    )
    hues: NDArray[np.float64] = (sixths / 6) % 1
    return hues
