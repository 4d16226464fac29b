"""How similar two control maps of one preprocessor are, 0..1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.metrics import map_f1
from lib_ctrlgen.preprocessors.base import Comparison

WINDOW, SPREAD = (11, 11), 1.5  # of SSIM's Gaussian
CONSTANTS = (0.01**2, 0.03**2)  # C1 and C2 of SSIM, for values in 0..1

Grey = NDArray[np.float64]


def edges(found: Image.Image, wanted: Image.Image) -> float:
    """F1 of two edge maps, within two pixels."""
    return map_f1(np.asarray(found.convert("L")), np.asarray(wanted.convert("L")))


def is_blank(found: Image.Image) -> bool:
    """Whether a map has one grey level everywhere, so that its adherence would be meaningless.

    >>> is_blank(Image.new("RGB", (8, 8), "white"))
    True
    """
    low, high = found.convert("L").getextrema()
    return bool(low == high)


def structure(found: Image.Image, wanted: Image.Image) -> float:
    """SSIM of two maps in grey; negative values become 0.

    Wang, Bovik, Sheikh and Simoncelli 2004, Image Quality Assessment: From Error Visibility to Structural
    Similarity; a Gaussian window of 11 pixels.
    """
    one, other = (np.asarray(each.convert("L"), np.float64) / 255 for each in (found, wanted))
    mean_one, mean_other = _mean(one), _mean(other)
    spread_one, spread_other = _mean(one * one) - mean_one**2, _mean(other * other) - mean_other**2
    shared = _mean(one * other) - mean_one * mean_other
    light = (2 * mean_one * mean_other + CONSTANTS[0]) / (mean_one**2 + mean_other**2 + CONSTANTS[0])
    form = (2 * shared + CONSTANTS[1]) / (spread_one + spread_other + CONSTANTS[1])
    return max(0.0, float((light * form).mean()))


def _mean(values: Grey) -> Grey:
    return np.asarray(cv2.GaussianBlur(values, WINDOW, SPREAD), np.float64)


COMPARISONS: Mapping[Comparison, Callable[[Image.Image, Image.Image], float]] = MappingProxyType(
    {"edges": edges, "structure": structure}
)
