"""Runs networks that return heat maps of keypoints, as OpenPose does (Cao et al. 2017; Simon et al. 2017)."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib_ctrlgen.preprocessors.network import Pixels, outputs_of

Maps: TypeAlias = NDArray[np.float32]

STRIDE, GREY, COLOURS = 8, 128, 3
SPREAD = 3.0  # pixels: the standard deviation of the Gaussian that smooths heat maps
WINDOW = (25, 25)  # pixels: four standard deviations to each side


def heat_maps(network: nn.Module, pixels: Pixels, device: torch.device) -> list[Maps]:
    """The outputs [H, W, C] of a network for pixels [H, W, 3], with blue first, scaled to their size.

    The network gets the picture with grey added to the right and below, up to multiples of 8 pixels.
    """
    height, width = pixels.shape[:2]
    below, right = -height % STRIDE, -width % STRIDE
    grown = np.pad(pixels, ((0, below), (0, right), (0, 0)), constant_values=GREY)
    found = outputs_of(network, scaled(grown), device)
    maps = (found,) if isinstance(found, Tensor) else found
    return [resized(planes(each), width + right, height + below)[:height, :width] for each in maps]


def scaled(pixels: Pixels) -> Maps:
    """Grey levels 0..255 as -0.5..0.5."""
    return pixels.astype(np.float32) / np.float32(256) - np.float32(0.5)


def planes(found: Tensor) -> Maps:
    """A network's output [1, C, h, w] as [h, w, C]."""
    return np.ascontiguousarray(found[0].float().permute(1, 2, 0).cpu().numpy())


def resized(values: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Values [H, W, C] at another size: means of areas where they shrink, Lanczos interpolation else."""
    rows, columns, count = values.shape
    how = cv2.INTER_AREA if height + width < rows + columns else cv2.INTER_LANCZOS4
    if count == COLOURS:
        return np.asarray(cv2.resize(values, (width, height), interpolation=how))
    separate = (np.ascontiguousarray(values[..., number]) for number in range(count))
    return np.stack([cv2.resize(each, (width, height), interpolation=how) for each in separate], axis=2)


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
