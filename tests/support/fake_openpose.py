"""Networks of OpenPose's published layout whose weights are the heat maps that they return.

They stand in a small package in the place of controlnet_aux. The body's network finds its people only where
the picture is more blue than grey, and only at the size at which OpenPose sees a square picture.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib_ctrlgen.preprocessors.poses.limbs import FIELDS, LIMBS

Array = npt.NDArray[np.float32]
Joints = Mapping[int, tuple[float, float]]

SIDE, CELL, GRID = 184, 8, 23  # pixels of the picture that the body's network sees; cells of its maps
REACH = 6.0  # pixels of it: the standard deviation of a joint's peak
DETAIL = 7  # cells along a side of the maps of hands and faces

FILES = {
    "open_pose/__init__.py": "raise RuntimeError('an __init__ above the file was run')\n",
    "open_pose/model.py": """
from collections import OrderedDict
from torch import nn
from torch.nn import functional

def block(name, *sizes, **options):
    return nn.Sequential(OrderedDict([(name, nn.Conv2d(*sizes, **options))]))

class bodypose_model(nn.Module):
    def __init__(self):
        super().__init__()
        self.model6_1 = block("Mconv7_stage6_L1", 1, 38, 23)
        self.model6_2 = block("Mconv7_stage6_L2", 1, 19, 23)

    def forward(self, x):
        assert x.shape == (1, 3, 184, 184), x.shape
        assert -0.5 <= x.min() and x.max() < 0.5
        blue = (x[:, 0].mean() > 0).float()
        fields, maps = (each[0].weight[:, 0][None] for each in (self.model6_1, self.model6_2))
        return fields * blue, maps * blue

class handpose_model(nn.Module):
    def __init__(self):
        super().__init__()
        self.model1_1 = block("conv6_2_CPM", 512, 22, 1)
        self.model6 = block("Mconv1_stage6", 150, 22, 7, padding=3)

    def forward(self, x):
        sides = [side // 8 for side in x.shape[2:]]
        assert sides in ([23, 23], [46, 46], [69, 69], [92, 92], [48, 48]), x.shape
        return functional.interpolate(self.model6[0].weight[:, 0][None], sides, mode="bilinear")
""",
}


def body_maps(people: Sequence[Joints]) -> tuple[Array, Array]:
    """The heat maps [19, 23, 23] and part affinity fields [38, 23, 23] of people on a square picture.

    A joint has x and y as shares of the picture's sides.
    """
    middles = (np.arange(GRID) + 0.5) * CELL
    x, y = np.meshgrid(middles, middles)
    maps, fields = np.zeros((19, GRID, GRID)), np.zeros((38, GRID, GRID))
    for joints in people:
        for joint, (left, top) in joints.items():
            distance = np.hypot(x - left * SIDE, y - top * SIDE)
            maps[joint] = np.maximum(maps[joint], np.exp(-(distance**2) / (2 * REACH**2)))
        for (first, second), channel in zip(LIMBS, FIELDS, strict=True):
            if first - 1 in joints and second - 1 in joints:
                one, other = (np.array(joints[each - 1]) * SIDE for each in (first, second))
                along = (other - one) / np.hypot(*(other - one))
                share = ((x - one[0]) * along[0] + (y - one[1]) * along[1]) / np.hypot(*(other - one))
                beside = np.abs((x - one[0]) * along[1] - (y - one[1]) * along[0])
                near = (share > -0.3) & (share < 1.3) & (beside < 1.5 * CELL)
                for part in (0, 1):
                    fields[channel + part][near] = along[part]
    return maps.astype(np.float32), fields.astype(np.float32)


def detail_cell(number: int) -> tuple[int, int]:
    """The row and the column at which a hand's or a face's keypoint is, of 5 x 5 cells inside of the grid."""
    return 1 + number % 25 // 5, 1 + number % 5


def write_openpose(folder: Path, people: Sequence[Joints], missing: Sequence[int] = ()) -> None:
    """Write the three files of weights; hands and faces have no heat map of the keypoints in `missing`."""
    maps, fields = (torch.from_numpy(each)[:, None] for each in body_maps(people))
    body = {
        "Mconv7_stage6_L1.weight": fields,
        "Mconv7_stage6_L1.bias": torch.zeros(38),
        "Mconv7_stage6_L2.weight": maps,
        "Mconv7_stage6_L2.bias": torch.zeros(19),
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(body, folder / "body_pose_model.pth")
    for name, count in (("hand_pose_model.pth", 22), ("facenet.pth", 71)):
        torch.save(_detail_weights(count, missing), folder / name)


def _detail_weights(count: int, missing: Sequence[int]) -> dict[str, Tensor]:
    weights = torch.zeros(count, count + 128, DETAIL, DETAIL)
    for number in range(count - 1):
        if number not in missing:
            weights[(number, 0, *detail_cell(number))] = 1
    weights[-1, 0] = 1  # the background
    return {
        "conv6_2_CPM.weight": torch.zeros(count, 512, 1, 1),
        "conv6_2_CPM.bias": torch.zeros(count),
        "Mconv1_stage6.weight": weights,
        "Mconv1_stage6.bias": torch.zeros(count),
    }
