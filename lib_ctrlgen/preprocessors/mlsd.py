"""Straight lines by M-LSD (Gu et al. 2022, Towards Light-weight and Real-time Line Segment Detection)."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib_ctrlgen.request.params import Param

from .base import Comparison
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, Tensors
from .packages import detector_file

MOST = 200  # lines
WINDOW = 3  # cells: only the likeliest centre of a line in such a square counts
STRIDE = 2  # pixels of a cell of the network's output


def mlsd_network(tensors: Tensors) -> nn.Module:
    """The network: RGB in -1..1 and a channel of one value, to the centres and the ends of lines."""
    del tensors
    network: nn.Module = detector_file("mlsd.models.mbv2_mlsd_large").MobileV2_MLSD_Large()
    return network


class Mlsd(NetworkPreprocessor):
    """Straight white lines, one pixel wide, as of buildings and rooms."""

    name: ClassVar[str] = "mlsd"
    title: ClassVar[str] = "Straight lines, M-LSD (mlsd)"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="value_threshold",
            label="MLSD value threshold: the least probability of a line",
            kind="float",
            default=0.1,
            minimum=0.01,
            maximum=2.0,
            step=0.01,
        ),
        Param(
            name="distance_threshold",
            label="MLSD distance threshold: the least length of a line in cells of 2 pixels",
            kind="float",
            default=0.1,
            minimum=0.01,
            maximum=20.0,
            step=0.01,
        ),
    )
    union_type: ClassVar[str] = "mlsd"
    compared: ClassVar[Comparison | None] = "edges"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="mlsd_large_512_fp32.pth", build=mlsd_network
    )

    def detect(
        self, pixels: Pixels, value_threshold: float = 0.1, distance_threshold: float = 0.1, **params: Any
    ) -> Pixels:
        """The lines that are likely and long enough; black if there is none."""
        del params
        fourth = np.ones((*pixels.shape[:2], 1), np.float32)
        output = self.run(np.concatenate([pixels, fourth], axis=2).astype(np.float32) / 127.5 - 1)
        canvas = np.zeros(pixels.shape[:2], np.uint8)
        for x1, y1, x2, y2 in line_ends(output[0], value_threshold, distance_threshold).astype(int):
            cv2.line(canvas, (int(x1), int(y1)), (int(x2), int(y2)), 255, 1)
        return canvas


def line_ends(output: Tensor, least: float, shortest: float) -> NDArray[np.float32]:
    """The ends x1, y1, x2, y2 of lines in pixels, [N, 4], the likeliest first.

    `output` [5 or more, h, w] has for each cell the logit of a line's centre, and the places of the line's
    two ends relative to it, in cells. `least` is the least probability, `shortest` the least length.
    """
    heat = torch.sigmoid(output[0])
    peak = nn.functional.max_pool2d(heat[None, None], WINDOW, 1, WINDOW // 2)[0, 0] == heat
    scores, places = torch.topk((heat * peak).flatten(), min(MOST, heat.numel()))
    ends = output[1:5].flatten(1)[:, places].T
    centre = torch.stack([places % heat.shape[1], places // heat.shape[1]], dim=1).repeat(1, 2)
    length = (ends[:, :2] - ends[:, 2:]).norm(dim=1)
    chosen = (scores > least) & (length > shortest)
    return np.asarray((STRIDE * (centre + ends))[chosen].float().cpu().numpy())
