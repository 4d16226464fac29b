"""Finds bodies with OpenPose's network: 18 joints for each person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from lib_ctrlgen.images.poses.pose import BODY
from lib_ctrlgen.preprocessors.network import Pixels

from .heat_maps import HeatMaps, heat_maps, peaks, resized
from .limbs import Places, people

Place: TypeAlias = tuple[float, float]
Joints: TypeAlias = Sequence["Place | None"]  # x and y in pixels; None for a joint that was not found

HEIGHT = 184  # pixels: half of the height of the pictures in the network's training
WIDEST = 32 * HEIGHT  # pixels: of what the network sees, so that very wide pictures fit into memory
MOST_PEOPLE = 127  # candidates of each joint, as in OpenPose


def bodies(network: nn.Module, pixels: Pixels, least: float, device: torch.device) -> list[Joints]:
    """The joints of each person in pixels [H, W, 3], with blue first.

    `least` is the value that the smoothed heat map of a joint must be above.
    """
    height, width = pixels.shape[:2]
    rows = max(1, min(HEIGHT, WIDEST * height // width))
    small = resized(pixels, max(1, width * rows // height), rows)
    fields, maps = heat_maps(network, small, device)
    return joints_in(maps, fields, (width, height), least)


def joints_in(maps: HeatMaps, fields: HeatMaps, size: tuple[int, int], least: float) -> list[Joints]:
    """The joints of each person, in pixels of a picture of `size` (width, height).

    `maps` are the 18 heat maps of the joints and that of the background, `fields` the 38 part affinity
    fields.
    """
    places = [peaks(maps.at(joint, size), least, MOST_PEOPLE) for joint in range(BODY)]
    return [_joints(found, places) for found in people(places, fields, size)]


def _joints(rows: Mapping[int, int], places: Sequence[Places]) -> Joints:
    found: list[Place | None] = [None] * BODY
    for joint, row in rows.items():
        x, y = np.asarray(places[joint])[row, :2]
        found[joint] = float(x), float(y)
    return found
