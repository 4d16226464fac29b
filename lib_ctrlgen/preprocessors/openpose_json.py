"""The drawing of a pose that was given as OpenPose JSON, instead of a picture."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.poses.drawing import LIMB, DrawnParts, draw
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.params import Param

from .base import PoseDetector

MIN_CONFIDENCE = Param(
    name="min_confidence",
    label="Keypoints of a lower confidence are not drawn",
    kind="float",
    default=0.3,
    minimum=0.0,
    maximum=1.0,
    step=0.01,
)


class OpenposeJson(PoseDetector):
    """Draws a pose in OpenPose JSON at the generation's size, so that lines are as wide as in training."""

    name: ClassVar[str] = "openpose_json"
    title: ClassVar[str] = "Pose from OpenPose JSON"
    detects: ClassVar[bool] = False
    reads_pose: ClassVar[bool] = True
    params: ClassVar[tuple[Param, ...]] = (
        MIN_CONFIDENCE,
        Param(name="body", label="Draw bodies", kind="bool", default=True),
        Param(name="hands", label="Draw hands", kind="bool", default=True),
        Param(name="face", label="Draw faces", kind="bool", default=True),
        Param(
            name="limb_width",
            label="Half width of limbs, pixels",
            kind="int",
            default=LIMB,
            minimum=1,
            maximum=32,
            step=1,
        ),
    )

    def pose(self, image: Image.Image, **params: Any) -> Pose:
        """Raise RequestError: a picture is no pose."""
        del image, params
        raise RequestError("", "'openpose_json' draws a pose in OpenPose JSON, and this is a picture")

    def drawn(
        self,
        pose: Pose,
        size: tuple[int, int],
        min_confidence: float = 0.3,
        body: bool = True,
        hands: bool = True,
        face: bool = True,
        limb_width: int = LIMB,
        **params: Any,
    ) -> Image.Image:
        """The keypoints with at least `min_confidence`, drawn at a size (width, height) in pixels."""
        del params
        parts = DrawnParts(body=body, hands=hands, face=face, limb=limb_width)
        return draw(pose.above(min_confidence), size, parts)
