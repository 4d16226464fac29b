"""Finds the keypoints of hands and faces with OpenPose's networks, in squares that follow from the body.

Simon, Joo, Matthews and Sheikh 2017, Hand Keypoint Detection in Single Images using Multiview Bootstrapping.
The squares are those of OpenPose for hands, and of sd-webui-controlnet for faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lib_ctrlgen.images.poses.pose import FACE, HAND
from lib_ctrlgen.preprocessors.network import Pixels, batch_of

from .bodies import Joints, Place
from .heat_maps import Maps, heat_maps, resized, scaled, smoothed

SMALLEST = 20  # pixels: the side of a square in which something is searched
HAND_SIDES = (184, 368, 552, 736)  # pixels: the network sees a hand at these sizes
HAND_GRID = 128  # pixels: the side of the mean of the four heat maps
HAND_BLUR = 0.8  # pixels: the picture's smoothing
BEHIND = 0.33  # of the forearm: how far the middle of a hand is behind the wrist
RIGHT_ARM, LEFT_ARM = (2, 3, 4), (5, 6, 7)  # shoulder, elbow, wrist
NOSE, EYES, EARS = 0, (14, 15), (16, 17)
EYE_REACH, EAR_REACH = 3.0, 1.5  # half a face's side, in distances of an eye or an ear from the nose
FACE_SIDE = 384


@dataclass(frozen=True)
class Square:
    """A part of a picture: its left upper corner and its side, in pixels."""

    left: int
    top: int
    side: int

    def cut(self, pixels: Pixels) -> Pixels:
        """The part of pixels [H, W, 3]."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]

    def placed(self, points: Joints) -> Joints:
        """Points in the square as points in the picture."""
        return [None if each is None else (each[0] + self.left, each[1] + self.top) for each in points]


def hand(network: nn.Module, pixels: Pixels, square: Square, least: float, device: torch.device) -> Joints:
    """The 21 keypoints of the hand in a square of pixels [H, W, 3], with blue first.

    `least` is the value that the smoothed heat map of a keypoint must be above.
    """
    seen = cv2.GaussianBlur(square.cut(pixels), (0, 0), HAND_BLUR)
    scales = [heat_maps(network, resized(seen, side, side), device)[0] for side in HAND_SIDES]
    grid, (height, width) = (HAND_GRID, HAND_GRID), seen.shape[:2]
    means = (np.mean([each.at(number, grid) for each in scales], axis=0) for number in range(HAND))
    return square.placed([hand_keypoint(each, (width, height), least) for each in means])


def hand_keypoint(values: Maps, size: tuple[int, int], least: float) -> Place | None:
    """Where the heat map of a keypoint is highest, in pixels of a picture of `size` (width, height).

    Of the areas where the smoothed map is above `least`, the one with the largest sum is searched.
    """
    count, areas = cv2.connectedComponents((smoothed(values) > least).astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    sums = np.bincount(areas.ravel(), weights=values.ravel(), minlength=count)
    inside = np.where(areas == 1 + int(np.argmax(sums[1:])), values, 0)
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    rows, columns = values.shape
    return float(int(column) * size[0] // columns), float(int(row) * size[1] // rows)


def face(network: nn.Module, pixels: Pixels, square: Square, least: float, device: torch.device) -> Joints:
    """The 70 keypoints of the face in a square of pixels [H, W, 3], with blue first.

    `least` is the value that the heat map of a keypoint must be above.
    """
    seen = square.cut(pixels)
    found = network(batch_of(scaled(resized(seen, FACE_SIDE, FACE_SIDE)), device))
    large = functional.interpolate(found, seen.shape[:2], mode="bilinear", align_corners=True)
    maps = large[0, :FACE].float().cpu().numpy()
    return square.placed([highest(each, least) for each in maps])


def highest(values: Maps, least: float) -> Place | None:
    """The pixel (x, y) with the highest value of a heat map [H, W]; None if it is not above `least`."""
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return (float(column), float(row)) if values[row, column] > least else None


def hand_square(body: Joints, arm: tuple[int, int, int], size: tuple[int, int]) -> Square | None:
    """The square of a body's hand in a picture of `size`; None without the arm, or for a very small hand.

    Its middle is a third of the forearm behind the wrist.
    """
    shoulder, elbow, wrist = (body[joint] for joint in arm)
    if shoulder is None or elbow is None or wrist is None:
        return None
    forearm, upper_arm = _distance(wrist, elbow), _distance(elbow, shoulder)
    side = 1.5 * max(forearm, 0.9 * upper_arm)
    middle = [end + BEHIND * (end - start) for end, start in zip(wrist, elbow, strict=True)]
    left, top = (max(0.0, each - side / 2) for each in middle)
    return _square(left, top, min(side, size[0] - left, size[1] - top))


def face_square(body: Joints, size: tuple[int, int]) -> Square | None:
    """The square of a body's face in a picture of `size`, around the nose; None without eyes and ears.

    None, too, for a very small face.
    """
    nose = body[NOSE]
    reaches = [(each, EYE_REACH) for each in EYES] + [(each, EAR_REACH) for each in EARS]
    seen = [(place, reach) for joint, reach in reaches if (place := body[joint]) is not None]
    if nose is None or not seen:
        return None
    half = max(reach * max(abs(nose[0] - x), abs(nose[1] - y)) for (x, y), reach in seen)
    left, top = (max(0.0, each - half) for each in nose)
    sides = (
        2 * half if start + half <= end else end - start for start, end in zip((left, top), size, strict=True)
    )
    return _square(left, top, min(sides))


def _distance(one: Place, other: Place) -> float:
    return hypot(one[0] - other[0], one[1] - other[1])


def _square(left: float, top: float, side: float) -> Square | None:
    return Square(int(left), int(top), int(side)) if side >= SMALLEST else None
