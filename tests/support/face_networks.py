"""Stand-ins for onnxruntime, for insightface, and for the networks of a model pack.

The detector sees red squares: a cell of 8 pixels that is all red is a face with a box of 48 pixels around the
cell's corner. The recogniser's embedding is a fixed random projection of the aligned face.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.faces.packs import PACKS

Array = npt.NDArray[np.float32]

STRIDES = (8, 16, 32)
REACH = 3.0  # the distance from a cell's corner to each side of its box, in units of the stride
OFFSETS = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-0.8, 1.0), (0.8, 1.0))  # of the points, in the same
PROJECTION = np.random.default_rng(7).standard_normal((3 * 14 * 14, WIDTH)).astype(np.float32) / 10


def detector_outputs(pixels: Array) -> list[Array]:
    """The nine outputs for an input [1, 3, H, W]."""
    height, width = pixels.shape[2:]
    scores, boxes, points = [], [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        score = np.zeros((rows, columns), np.float32)
        if stride == 8:
            means = pixels[0].reshape(3, rows, 8, columns, 8).mean(axis=(2, 4))
            score = np.where((means[0] > 0.9) & (means[1:] < -0.9).all(axis=0), 0.9, 0.1).astype(np.float32)
        count = rows * columns
        scores.append(np.repeat(score.reshape(-1, 1), 2, axis=0) * np.tile([[1], [0.5]], (count, 1)))
        boxes.append(np.full((2 * count, 4), REACH, np.float32))
        points.append(np.tile(np.asarray(OFFSETS, np.float32).reshape(1, 10), (2 * count, 1)))
    return [each.astype(np.float32) for each in (*scores, *boxes, *points)]


def recogniser_outputs(pixels: Array) -> list[Array]:
    """The embedding [1, 512] for an input [1, 3, 112, 112]."""
    pooled = pixels.reshape(3, 14, 8, 14, 8).mean(axis=(2, 4)).reshape(1, -1)
    return [pooled @ PROJECTION]


def face_picture(*corners: tuple[int, int], size: tuple[int, int] = (640, 640)) -> Image.Image:
    """A grey picture with a red square of 8 pixels at each corner, each on a patch of another colour."""
    picture = Image.new("RGB", size, (90, 90, 90))
    for number, (x, y) in enumerate(corners):
        picture.paste((10 + 40 * number, 200 - 30 * number, 60), (x - 24, y - 24, x + 24, y + 24))
    for x, y in corners:
        picture.paste((255, 0, 0), (x, y, x + 8, y + 8))
    return picture


@dataclass
class FakeRuntime:
    """A module onnxruntime. `opened` are the files of its sessions, `sizes` the detector's input sizes.

    `largest` is the side of the largest input at which the detector finds anything; `shape` is its height
    and width where they are fixed; `damaged` are the names of files that cannot be read.
    """

    opened: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    providers: list[Any] = field(default_factory=list)
    largest: int = 640
    shape: tuple[Any, Any] = ("?", "?")
    damaged: tuple[str, ...] = ()
    outputs: int = 9

    def session(self, path: str, sess_options: Any, providers: Any) -> Any:
        assert sess_options.log_severity_level == 3
        name = Path(path).name
        if name in self.damaged:
            raise RuntimeError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF\nProtobuf parsing failed")
        self.opened.append(name)
        self.providers += providers
        detects = name in {pack.detector for pack in PACKS.values()}
        shape = [1, 3, *self.shape] if detects else ["None", 3, 112, 112]
        names = [str(number) for number in range(self.outputs if detects else 1)]
        return SimpleNamespace(
            get_inputs=lambda: [SimpleNamespace(name="input.1", shape=shape)],
            get_outputs=lambda: [SimpleNamespace(name=name, shape=[]) for name in names],
            run=self.detect if detects else lambda _names, feed: recogniser_outputs(feed["input.1"]),
        )

    def detect(self, names: Sequence[str], feed: dict[str, Array]) -> list[Array]:
        pixels = feed["input.1"]
        height, width = pixels.shape[2:]
        self.sizes.append((width, height))
        assert pixels.dtype == np.float32
        found = detector_outputs(pixels if width <= self.largest else np.zeros_like(pixels))
        return found[: len(names)]


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def install_runtime(monkeypatch: pytest.MonkeyPatch, home: Path) -> FakeRuntime:
    """onnxruntime is the fake one, insightface is not installed, and this is the home folder."""
    fake = FakeRuntime()
    made = module("onnxruntime", InferenceSession=fake.session, SessionOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnxruntime", made)
    monkeypatch.setitem(sys.modules, "insightface", None)  # type: ignore[arg-type]
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    return fake


@dataclass
class FakePackage:
    """A package insightface, whose FaceAnalysis finds `faces` at the sizes up to `largest`."""

    faces: list[Any]
    largest: int = 640
    loaded: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)

    def analysis(self, **options: Any) -> Any:
        self.loaded.append(options)
        sys.stdout.write("find model: det_10g.onnx\n")  # as insightface does
        return SimpleNamespace(prepare=self.prepare, get=self.get)

    def prepare(self, ctx_id: int, det_thresh: float, det_size: tuple[int, int]) -> None:
        assert (ctx_id, det_thresh) == (-1, 0.5)
        self.sizes.append(det_size)

    def get(self, colours: Any) -> list[Any]:
        self.seen.append(colours)
        return self.faces if self.sizes[-1][0] <= self.largest and colours.mean() > 1 else []


def install_package(monkeypatch: pytest.MonkeyPatch, package: FakePackage) -> None:
    app = module("insightface.app", FaceAnalysis=package.analysis)
    monkeypatch.setitem(sys.modules, "insightface", module("insightface", app=app))
    monkeypatch.setitem(sys.modules, "insightface.app", app)


def write_pack(folder: Path, name: str = "buffalo_l") -> Path:
    """Files of a pack's names in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (PACKS[name].detector, PACKS[name].recogniser):
        (folder / file).write_bytes(b"onnx")
    return folder
