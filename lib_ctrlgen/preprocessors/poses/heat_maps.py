"""Runs networks that return heat maps of keypoints, as OpenPose does (Cao et al. 2017; Simon et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib_ctrlgen.preprocessors.network import Pixels, batch_of

Maps: TypeAlias = NDArray[np.float32]

STRIDE, GREY = 8, 128
SPREAD = 3.0  # pixels: the standard deviation of the Gaussian that smooths heat maps
WINDOW = (25, 25)  # pixels: four standard deviations to each side


@dataclass(frozen=True)
class HeatMaps:
    """A network's output [C, h, w] of a picture of `size` (width, height), or somewhat larger."""

    values: Maps
    size: tuple[int, int]

    def at(self, channel: int, size: tuple[int, int]) -> Maps:
        """One of the maps [H, W], scaled to a size (width, height)."""
        rows, columns = self.values.shape[1:]
        seen = resized(self.values[channel], columns * STRIDE, rows * STRIDE)
        return np.asarray(resized(seen[: self.size[1], : self.size[0]], *size), np.float32)


def heat_maps(network: nn.Module, pixels: Pixels, device: torch.device) -> list[HeatMaps]:
    """The outputs of a network for pixels [H, W, 3], with blue first.

    The network gets the picture with grey added to the right and below, up to multiples of 8 pixels.
    """
    height, width = pixels.shape[:2]
    added = ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
    found = network(batch_of(scaled(np.pad(pixels, added, constant_values=GREY)), device))
    outputs = (found,) if isinstance(found, Tensor) else found
    return [HeatMaps(each[0].float().cpu().numpy(), (width, height)) for each in outputs]


def scaled(pixels: Pixels) -> Maps:
    """Grey levels 0..255 as -0.5..0.5."""
    return pixels.astype(np.float32) / np.float32(256) - np.float32(0.5)


def resized(values: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Values [H, W] or [H, W, 3] at another size: means of areas, or Lanczos interpolation if larger."""
    rows, columns = values.shape[:2]
    how = cv2.INTER_AREA if height + width < rows + columns else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(values, (width, height), interpolation=how))


def smoothed(values: NDArray[Any]) -> Maps:
    """A heat map [H, W] after a Gaussian of a standard deviation of three pixels."""
    return np.asarray(cv2.GaussianBlur(values, WINDOW, SPREAD, borderType=cv2.BORDER_REFLECT), np.float32)


def peaks(values: Maps, least: float, most: int) -> NDArray[np.float64]:
    """The local maxima [N, 3] of a heat map [H, W], as x, y and the map's value there; at most `most`.

    They are the pixels of the smoothed map that are above `least` and not below one of their four neighbours.
    """
    smooth = smoothed(values)
    around = np.pad(smooth, 1)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    highest = smooth > least
    for each in neighbours:
        highest &= smooth >= each
    rows, columns = np.nonzero(highest)
    found = np.stack((columns, rows, values[rows, columns]), axis=1).astype(np.float64)
    kept = np.sort(np.argsort(-found[:, 2], kind="stable")[:most])
    return np.asarray(found[kept])
