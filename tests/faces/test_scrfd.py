"""The outputs of an SCRFD network become boxes and points; overlapping boxes are one face."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.faces.scrfd import decoded, detect, letterboxed
from lib_ctrlgen.images.boxes import distinct
from lib_ctrlgen.models.onnx import OnnxNetwork

SIZE = 96, 64  # width, height
ROWS = {8: 2 * 12 * 8, 16: 2 * 6 * 4, 32: 2 * 3 * 2}


def empty() -> list[np.ndarray]:
    return [np.zeros((count, width), np.float32) for width in (1, 4, 10) for count in ROWS.values()]


def with_face(outputs: list[np.ndarray], level: int, row: int, score: float) -> list[np.ndarray]:
    outputs[level][row] = score
    outputs[level + 3][row] = (1, 0.5, 2, 1.5)
    outputs[level + 6][row] = (0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1)
    return outputs


@pytest.mark.parametrize("batched", [False, True])
def test_a_box_and_its_points_are_measured_from_the_cells_corner(batched: bool) -> None:
    # stride 16, the grid's cell in column 2 and row 1, the second of its two rows
    outputs = with_face(empty(), 1, 2 * (1 * 6 + 2) + 1, 0.75)
    with_face(outputs, 0, 5, 0.49)
    found = decoded([each[None] for each in outputs] if batched else outputs, SIZE, "net")
    np.testing.assert_allclose(found.boxes, [[32 - 16, 16 - 8, 32 + 32, 16 + 24]])
    np.testing.assert_allclose(found.points, [[(32, 16), (48, 16), (40, 24), (32, 32), (48, 32)]])
    np.testing.assert_allclose(found.scores, [0.75])


def test_all_three_strides_are_read() -> None:
    outputs = empty()
    for level, stride in enumerate(ROWS):
        with_face(outputs, level, len(outputs[level]) - 2, 0.5 + level / 10)  # the last cell
        del stride
    found = decoded(outputs, SIZE, "net")
    np.testing.assert_allclose(found.points[:, 0], [(88, 56), (80, 48), (64, 32)])
    assert found.scores.tolist() == pytest.approx([0.5, 0.6, 0.7])


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelError, match=r"net is not a face detector.*6 outputs"):
        decoded(empty()[:6], SIZE, "net")
    with pytest.raises(ModelError, match="other shapes"):
        decoded(empty(), (96, 96), "net")
    with pytest.raises(ModelError, match="other shapes"):
        decoded([*empty()[3:6], *empty()[:3], *empty()[6:]], SIZE, "net")


def test_of_overlapping_boxes_the_most_certain_stays() -> None:
    boxes = np.array(
        [[0, 0, 9, 9], [0, 0, 9, 3], [50, 50, 59, 59], [1, 0, 10, 9], [0, 4, 9, 9], [51, 51, 60, 60]],
        np.float32,
    )
    scores = np.array([0.9, 0.95, 0.6, 0.8, 0.7, 0.99], np.float32)
    # 1 and 0 share 40 of 100 pixels: 0.4 is not too much; 3 shares 90 of 110 with 0, 4 shares 60 of 100
    assert distinct(boxes, scores, 0.4).tolist() == [5, 1, 0]
    assert distinct(boxes[:0], scores[:0], 0.4).tolist() == []


@pytest.mark.parametrize(
    ("shape", "fitted", "scale"),
    [((50, 100), (640, 320), 6.4), ((1280, 640), (320, 640), 0.5), ((640, 640), (640, 640), 1),
     ((999, 1), (1, 640), 0.64)],
)  # fmt: skip
def test_a_picture_lies_in_the_left_upper_corner(
    shape: tuple[int, int], fitted: tuple[int, int], scale: float
) -> None:
    canvas, found = letterboxed(np.full((*shape, 3), 200, np.uint8), (640, 640))
    assert canvas.shape == (640, 640, 3)
    assert float(found) == pytest.approx(scale, rel=1e-2)
    assert (canvas[: fitted[1], : fitted[0]] == 200).all()
    assert not canvas[fitted[1] :].any()
    assert not canvas[:, fitted[0] :].any()


def test_faces_come_in_the_pictures_own_pixels() -> None:
    given: list[Any] = []
    outputs = with_face(empty(), 1, 0, 0.6)  # at the corner, and nearly the same face again, surer
    with_face(outputs, 1, 1, 0.8)

    def run(_names: Any, feed: dict[str, Any]) -> list[np.ndarray]:
        given.append(feed["in"])
        return outputs

    node = SimpleNamespace(name="in", shape=[1, 3, "h", "w"])
    session = SimpleNamespace(get_inputs=lambda: [node], get_outputs=lambda: [node] * 9, run=run)
    network = OnnxNetwork(cpu_bytes=1, session=session, name="net")
    picture = np.zeros((128, 96, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 255, 10
    found = detect(network, picture, SIZE)
    assert found.scores.tolist() == pytest.approx([0.8])
    np.testing.assert_allclose(found.boxes, [[-32, -16, 64, 48]])
    np.testing.assert_allclose(found.points[0, 1], (32, 0))
    (pixels,) = given
    assert pixels.shape == (1, 3, 64, 96)
    np.testing.assert_allclose(pixels[0, :, 5, 5], [127.5 / 128, -127.5 / 128, -117.5 / 128], rtol=1e-6)
    np.testing.assert_allclose(pixels[0, :, 5, 60], [-127.5 / 128] * 3, rtol=1e-6)
