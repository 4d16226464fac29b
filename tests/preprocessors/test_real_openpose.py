"""controlnet_aux's own detectors of bodies, hands and faces, where it is installed, on the same heat maps.

Its files import packages that are in no set of the project (scikit-image for hands, torchvision for faces).
"""

import warnings
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.preprocessors.packages import detector_file
from lib_ctrlgen.preprocessors.poses.bodies import bodies
from lib_ctrlgen.preprocessors.poses.hands_and_faces import (
    LEFT_ARM,
    RIGHT_ARM,
    Square,
    face,
    face_square,
    hand,
    hand_square,
)
from tests.support.fake_detectors import forget_package

CPU = torch.device("cpu")
WIDTH, HEIGHT = 200, 190
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SQUARE = Square(30, 40, 120)


class Noise(nn.Module):
    """Smooth random maps, the same for a size, whatever the picture is."""

    def __init__(self, *counts: int, spread: float) -> None:
        super().__init__()
        self.counts, self.spread = counts, spread
        self.device = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        rows, columns = (side // 8 for side in x.shape[2:])
        generator = torch.Generator().manual_seed(rows * 1000 + columns)
        found = []
        for count in self.counts:
            coarse = torch.randn(1, count, rows // 2, columns // 2, generator=generator) * self.spread
            found.append(functional.interpolate(coarse, (rows, columns), mode="bicubic"))
        return found if len(found) > 1 else found[0]


@pytest.fixture(autouse=True)
def package() -> Any:
    """controlnet_aux's folder open_pose; its files import each other, `util` first."""
    forget_package()
    if find_spec("controlnet_aux") is None:
        pytest.skip("could not import 'controlnet_aux'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a module of scipy
        util = detector_file("open_pose.util")
    return SimpleNamespace(util=util, body=detector_file("open_pose.body"))


def theirs(kind: Any, model: nn.Module) -> Any:
    made = kind.__new__(kind)
    made.model = model
    return made


def test_bodies(package: Any) -> None:
    network = Noise(38, 19, spread=1.0)
    their = theirs(package.body.Body, network)
    wanted = their.format_body_result(*their(PIXELS))
    ours = bodies(network, PIXELS, 0.1, CPU)
    assert len(ours) == len(wanted) > 3
    for one, other in zip(ours, wanted, strict=True):
        assert one == [None if point is None else (point.x, point.y) for point in other.keypoints]


def test_squares_of_hands_and_faces(package: Any) -> None:
    random = np.random.default_rng(1)
    size, seen = (WIDTH, HEIGHT), 0
    for _ in range(300):
        joints = [
            None
            if random.random() < 0.15
            else (float(random.integers(WIDTH)), float(random.integers(HEIGHT)))
            for _ in range(18)
        ]
        body = package.body.BodyResult([each and package.body.Keypoint(*each) for each in joints], 0, 0)
        hands = [(hand_square(joints, arm, size), arm) for arm in (LEFT_ARM, RIGHT_ARM)]
        found = [(each.left, each.top, each.side, arm is LEFT_ARM) for each, arm in hands if each]
        assert found == package.util.handDetect(body, PIXELS)
        square = face_square(joints, size)
        seen += square is not None
        wanted = package.util.faceDetect(body, PIXELS)
        assert (square and (square.left, square.top, square.side)) == wanted
    assert seen > 100


@pytest.mark.usefixtures("package")
def test_hands() -> None:
    pytest.importorskip("skimage")
    network = Noise(22, spread=0.5)
    wanted = theirs(detector_file("open_pose.hand").Hand, network)(SQUARE.cut(PIXELS))
    found = hand(network, PIXELS, SQUARE, 0.05, CPU)
    # theirs is [0, 0] for a keypoint that was not found
    ours = [(0, 0) if each is None else (each[0] - 30, each[1] - 40) for each in found]
    np.testing.assert_array_equal(ours, wanted)


@pytest.mark.usefixtures("package")
def test_faces() -> None:
    pytest.importorskip("torchvision")
    network = Noise(71, spread=0.5)
    network.forward = lambda x: [Noise.forward(network, x)]  # type: ignore[method-assign]
    their = theirs(detector_file("open_pose.face").Face, network)
    wanted = their.compute_peaks_from_heatmaps(their(SQUARE.cut(PIXELS)))[:70]
    del network.forward
    found = face(network, PIXELS, SQUARE, 0.05, CPU)
    assert [each and (each[0] - 30, each[1] - 40) for each in found] == [tuple(each) for each in wanted]
