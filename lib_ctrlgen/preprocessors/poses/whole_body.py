"""Poses by DWPose (Yang et al. 2023, Effective Whole-body Pose Estimation with Two-stages Distillation)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.images.poses.pose import Person, Pose
from lib_ctrlgen.models.onnx import Array
from lib_ctrlgen.preprocessors.base import PoseDetector
from lib_ctrlgen.request.params import Param

from .onnx_files import OnnxDetector, OnnxFile
from .openpose import confidence, fractions
from .simcc import keypoints, marked
from .yolox import PEOPLE, found_boxes

SIZE, COUNT = (288, 384), 133
# COCO-WholeBody's keypoints: 17 of the body, 6 of the feet, 68 of the face, 21 of each hand.
FACE, LEFT_HAND, RIGHT_HAND = slice(23, 91), slice(91, 112), slice(112, 133)
SHOULDERS, EYES = (5, 6), (2, 1)  # left and right; right and left
# For OpenPose's 18 joints, the keypoint of COCO; the neck (None) is between the shoulders.
JOINTS = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)

KEYPOINTS = confidence("min_confidence", "Keypoints", 0.3)
BOXES = confidence("min_box_confidence", "People", 0.3)


class WholeBody(OnnxDetector, PoseDetector):
    """The bodies, hands and faces of people."""

    name: ClassVar[str] = "dw_openpose_full"
    title: ClassVar[str] = "Pose: bodies, hands and faces, DWPose (dw_openpose_full)"
    params: ClassVar[tuple[Param, ...]] = (KEYPOINTS, BOXES)
    keypoints: ClassVar[OnnxFile] = OnnxFile(weights="dw-ll_ucoco_384.onnx")

    def pose(
        self,
        image: Image.Image,
        min_confidence: float = 0.3,
        min_box_confidence: float = 0.3,
        **params: Any,
    ) -> Pose:
        """The people in an RGB picture. Raises ModelError."""
        del params
        pixels = pixels_of(image)
        with self.opened() as (finder, network):
            found = [
                person_of(*keypoints(network, pixels, box, SIZE, COUNT), min_confidence, image.size)
                for box in found_boxes(finder, pixels, PEOPLE, min_box_confidence)
            ]
        people = tuple(each for each in found if each != Person())
        return Pose(people=people, width=image.width, height=image.height)


def person_of(places: Array, certain: Array, least: float, size: tuple[int, int]) -> Person:
    """A person of COCO-WholeBody's 133 keypoints: places [133, 2] in pixels of a picture of `size`.

    The neck is the middle of the shoulders, if both are certain enough. The face's last two keypoints, which
    COCO-WholeBody does not have, are the body's eyes.
    """
    points = marked(places, certain, least)
    shoulders = [points[number] for number in SHOULDERS]
    neck = None if None in shoulders else tuple(np.mean(np.asarray(shoulders, float), axis=0).tolist())
    face = points[FACE]
    if any(face):
        face += [points[number] for number in EYES]
    return Person(
        body=fractions([neck if number is None else points[number] for number in JOINTS], size),
        left_hand=fractions(points[LEFT_HAND], size),
        right_hand=fractions(points[RIGHT_HAND], size),
        face=fractions(face, size),
    )
