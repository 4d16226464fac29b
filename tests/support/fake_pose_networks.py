"""A stand-in for onnxruntime with the networks of DWPose and of RTMPose for animals.

The detector sees red rectangles as people and blue ones as dogs. The other networks see a green square; their
keypoints are around its middle, in the order of a table with seven columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

DETECTOR, WHOLE_BODY = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
ANIMAL = "rtmpose-m_simcc-ap10k_pt-aic-coco_210e-256x256-7a041aa1_20230206.onnx"
KEYPOINTS = {WHOLE_BODY: (133, 288, 384), ANIMAL: (17, 256, 256)}  # their number, width and height of inputs
PERSON, DOG, STRIDE = 0, 16, 32
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
STEP = np.array([6, 4])  # pixels of the input between two columns and two rows of the table
MEAN, SPREAD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])  # of ImageNet


def table(number: int) -> Array:
    """A keypoint's offset (x, y) from the green square's middle, in pixels of the network's input."""
    return np.asarray(STEP * (number % 7 - 3, number // 7 - 9), np.float32)


def boxed_row(
    box: Sequence[float], number: int, confidence: float, stride: int = STRIDE
) -> tuple[int, Array]:
    """The row of YOLOX's output for an input of 640 x 640 pixels, and its 85 numbers."""
    left, top, right, bottom = box
    middle = np.array([left + right, top + bottom]) / 2 / stride
    cell = np.floor(middle).astype(int)
    before = sum((640 // each) ** 2 for each in (8, 16, 32) if each < stride)
    values = np.zeros(85, np.float32)
    values[:2] = middle - cell
    values[2:4] = np.log(np.array([right - left, bottom - top]) / stride)
    values[4] = values[5 + number] = np.sqrt(confidence)
    return before + int(cell[1]) * (640 // stride) + int(cell[0]), values


def detector_output(pixels: Array, confidence: float) -> list[Array]:
    """The output for an input [1, 3, 640, 640], blue first, 0..255."""
    assert pixels.shape == (1, 3, 640, 640)
    found = np.zeros((1, 8400, 85), np.float32)
    blue, green, red = pixels[0]
    for shown, number in (((red > 200) & (blue < 60), PERSON), ((blue > 200) & (red < 60), DOG)):
        rows, columns = np.nonzero(shown & (green < 60))
        if len(rows):
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            row, values = boxed_row(box, number, confidence)
            found[0, row] = values
    return [found]


def keypoint_outputs(pixels: Array, name: str, hidden: Sequence[int]) -> list[Array]:
    """The two outputs for an input [1, 3, H, W], red first, normalised; `hidden` have a confidence of 0.2."""
    count, width, height = KEYPOINTS[name]
    assert pixels.shape == (1, 3, height, width)
    levels = np.moveaxis(pixels[0], 0, -1) * SPREAD + MEAN
    red, green, blue = np.moveaxis(levels, -1, 0)
    rows, columns = np.nonzero((green > 200) & (red < 60) & (blue < 60))
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    vectors = [np.zeros((1, count, 2 * side), np.float32) for side in (width, height)]
    for number in range(count):
        for vector, place in zip(vectors, middle + table(number), strict=True):
            vector[0, number, int(np.clip(2 * place, 0, vector.shape[2] - 1))] = (
                0.2 if number in hidden else 0.95
            )
    return vectors


@dataclass
class FakeRuntime:
    """onnxruntime. `opened` are the files of its sessions; `confidence` is that of the boxes.

    `outputs` replaces the outputs of files.
    """

    opened: list[str] = field(default_factory=list)
    confidence: float = 0.8
    hidden: Sequence[int] = ()
    outputs: dict[str, list[Array]] = field(default_factory=dict)

    def session(self, path: str, sess_options: Any, providers: Any) -> Any:
        del sess_options, providers
        name = Path(path).name
        self.opened.append(name)
        sides = (640, 640) if name == DETECTOR else KEYPOINTS[name][:0:-1]
        return SimpleNamespace(
            get_inputs=lambda: [SimpleNamespace(name="input", shape=["N", 3, *sides])],
            get_outputs=lambda: [SimpleNamespace(name="output", shape=[])],
            run=lambda _names, feed: self.run(name, feed["input"]),
        )

    def run(self, name: str, pixels: Array) -> list[Array]:
        assert pixels.dtype == np.float32
        if name in self.outputs:
            return self.outputs[name]
        if name == DETECTOR:
            return detector_output(pixels, self.confidence)
        return keypoint_outputs(pixels, name, self.hidden)

    def module(self) -> ModuleType:
        made = ModuleType("onnxruntime")
        vars(made).update(InferenceSession=self.session, SessionOptions=SimpleNamespace)
        return made


def scene(
    colour: tuple[int, int, int] | None, box: tuple[int, int, int, int], mark: tuple[int, int]
) -> Image.Image:
    """A grey picture with a rectangle, and in it a green square of 20 pixels around a place."""
    picture = Image.new("RGB", (500, 400), (90, 90, 90))
    if colour is not None:
        picture.paste(colour, box)
    picture.paste(GREEN, (mark[0] - 10, mark[1] - 10, mark[0] + 10, mark[1] + 10))
    return picture
