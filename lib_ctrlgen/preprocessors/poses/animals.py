"""Poses of animals by RTMPose (Jiang et al. 2023), trained on AP-10K (Yu et al. 2021)."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image

from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.images.poses.pose import ANIMAL, Pose
from lib_ctrlgen.preprocessors.base import PoseDetector
from lib_ctrlgen.request.params import Param

from .onnx_files import OnnxDetector, OnnxFile
from .openpose import confidence, fractions
from .simcc import keypoints, marked
from .yolox import ANIMALS, found_boxes

SIZE = (256, 256)
KEYPOINTS = confidence("min_confidence", "Keypoints", 0.0)
BOXES = confidence("min_box_confidence", "Animals", 0.3)


class AnimalOpenpose(OnnxDetector, PoseDetector):
    """The bodies of birds, cats, dogs, horses, sheep, cows, elephants, bears, zebras and giraffes."""

    name: ClassVar[str] = "animal_openpose"
    title: ClassVar[str] = "Pose: animals, RTMPose (animal_openpose)"
    params: ClassVar[tuple[Param, ...]] = (KEYPOINTS, BOXES)
    keypoints: ClassVar[OnnxFile] = OnnxFile(
        weights="rtmpose-m_simcc-ap10k_pt-aic-coco_210e-256x256-7a041aa1_20230206.onnx"
    )

    def pose(
        self,
        image: Image.Image,
        min_confidence: float = 0.0,
        min_box_confidence: float = 0.3,
        **params: Any,
    ) -> Pose:
        """The animals in an RGB picture. Raises ModelError."""
        del params
        pixels = pixels_of(image)
        with self.opened() as (finder, network):
            found = [
                fractions(marked(*keypoints(network, pixels, box, SIZE, ANIMAL), min_confidence), image.size)
                for box in found_boxes(finder, pixels, ANIMALS, min_box_confidence)
            ]
        animals = tuple(each for each in found if each is not None)
        return Pose(animals=animals, width=image.width, height=image.height)
