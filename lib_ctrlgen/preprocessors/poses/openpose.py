"""Poses by OpenPose (Cao et al. 2017), in the version of ControlNet: bodies, hands and faces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import nn

from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.images.poses.pose import Keypoint, Person, Points, Pose
from lib_ctrlgen.preprocessors.base import PoseDetector
from lib_ctrlgen.preprocessors.network import LoadingPreprocessor, Pixels, PublishedNetwork
from lib_ctrlgen.request.params import Param

from .bodies import Joints, bodies
from .hands_and_faces import LEFT_ARM, RIGHT_ARM, face, face_square, hand, hand_square
from .networks import BODY, FACE, HAND


def confidence(name: str, what: str, default: float) -> Param:
    """A parameter: the confidence below which something is left out."""
    label = f"{what} of a lower confidence are left out"
    return Param(name=name, label=label, kind="float", default=default, minimum=0.0, maximum=1.0, step=0.01)


JOINTS = confidence("min_confidence", "Joints of the body", 0.1)
DETAILS = confidence("min_detail_confidence", "Keypoints of hands and faces", 0.05)


class Openpose(LoadingPreprocessor, PoseDetector):
    """The bodies of people.

    bodies, hands, faces   what is in the pose; hands and faces are searched at the joints of bodies
    """

    name: ClassVar[str] = "openpose"
    title: ClassVar[str] = "Pose: bodies, OpenPose (openpose)"
    params: ClassVar[tuple[Param, ...]] = (JOINTS,)
    bodies: ClassVar[bool] = True
    hands: ClassVar[bool] = False
    faces: ClassVar[bool] = False

    @classmethod
    def networks(cls) -> tuple[PublishedNetwork, ...]:
        """The networks that it runs."""
        return (BODY, *([HAND] if cls.hands else []), *([FACE] if cls.faces else []))

    def weight_files(self) -> tuple[Path, ...]:
        """The files that its networks are read from. Raises ModelError."""
        return self.found(*(each.weights for each in self.networks()))

    def pose(
        self,
        image: Image.Image,
        min_confidence: float = 0.1,
        min_detail_confidence: float = 0.05,
        **params: Any,
    ) -> Pose:
        """The people in an RGB picture. Raises ModelError."""
        del params
        blue_first = np.ascontiguousarray(pixels_of(image)[..., ::-1])
        self.weight_files()  # all of them, before one is read
        with self.loaded(*self.networks()) as networks:
            loaded = dict(zip(self.networks(), networks, strict=True))
            found = [
                self._person(joints, blue_first, loaded, min_detail_confidence)
                for joints in bodies(loaded[BODY], blue_first, min_confidence, self.device)
            ]
        return Pose(people=tuple(filter(_is_seen, found)), width=image.width, height=image.height)

    def _person(
        self, joints: Joints, pixels: Pixels, loaded: dict[PublishedNetwork, nn.Module], least: float
    ) -> Person:
        """The parts of a person that the pose has; `least` is the confidence of hands and faces."""
        height, width = pixels.shape[:2]
        parts: dict[str, Joints] = {"body": joints} if self.bodies else {}
        if self.hands:
            for part, arm in (("left_hand", LEFT_ARM), ("right_hand", RIGHT_ARM)):
                square = hand_square(joints, arm, (width, height))
                if square is not None:
                    parts[part] = hand(loaded[HAND], pixels, square, least, self.device)
        square = face_square(joints, (width, height)) if self.faces else None
        if square is not None:
            parts["face"] = face(loaded[FACE], pixels, square, least, self.device)
        return Person(**{part: fractions(points, (width, height)) for part, points in parts.items()})


class OpenposeFace(Openpose):
    """The bodies and faces of people."""

    name: ClassVar[str] = "openpose_face"
    title: ClassVar[str] = "Pose: bodies and faces, OpenPose (openpose_face)"
    params: ClassVar[tuple[Param, ...]] = (JOINTS, DETAILS)
    faces: ClassVar[bool] = True


class OpenposeFaceOnly(OpenposeFace):
    """The faces of people."""

    name: ClassVar[str] = "openpose_faceonly"
    title: ClassVar[str] = "Pose: faces alone, OpenPose (openpose_faceonly)"
    bodies: ClassVar[bool] = False


class OpenposeHand(Openpose):
    """The bodies and hands of people."""

    name: ClassVar[str] = "openpose_hand"
    title: ClassVar[str] = "Pose: bodies and hands, OpenPose (openpose_hand)"
    params: ClassVar[tuple[Param, ...]] = (JOINTS, DETAILS)
    hands: ClassVar[bool] = True


class OpenposeFull(OpenposeHand):
    """The bodies, hands and faces of people."""

    name: ClassVar[str] = "openpose_full"
    title: ClassVar[str] = "Pose: bodies, hands and faces, OpenPose (openpose_full)"
    faces: ClassVar[bool] = True


def fractions(points: Iterable[tuple[float, float] | None], size: tuple[int, int]) -> Points | None:
    """Points in pixels of a picture of `size` as keypoints of a pose; None if there are none.

    Their confidence is 1, as in documents of sd-webui-controlnet, which reads no keypoint with less
    (decision 0039).
    """
    width, height = size
    found = tuple(None if each is None else Keypoint(each[0] / width, each[1] / height) for each in points)
    return found if any(found) else None


def _is_seen(person: Person) -> bool:
    return any((person.body, person.left_hand, person.right_hand, person.face))
