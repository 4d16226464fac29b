"""With the real onnxruntime: networks of a pack's inputs and outputs that compute what the stand-ins do.

Both packages are in no set of the project, so this is skipped there. By hand: `pip install --target FOLDER
onnxruntime onnx`, and PYTHONPATH=FOLDER.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.faces.find import find_faces
from tests.support.face_networks import OFFSETS, PROJECTION, REACH, STRIDES, FakeRuntime, face_picture

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
RED = np.array([1, -1, -1], np.float32)  # 3 for red, at most 1 for the other colours
LEFT, RIGHT = (80, 320), (480, 160)


def saved(path: Path, nodes: Any, weights: Any, outputs: Any, sides: Any) -> None:
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    info = onnx.helper.make_tensor_value_info
    inputs = [info("input.1", onnx.TensorProto.FLOAT, [None, 3, *sides])]
    found = [info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "g", inputs, found, tensors)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def write_detector(path: Path) -> None:
    node, nodes, weights, outputs = onnx.helper.make_node, [], {}, []
    biases = {"score": None, "box": [REACH] * 4, "points": np.reshape(OFFSETS, 10)}
    for kind, bias in biases.items():
        width = 1 if bias is None else len(bias)
        for stride in STRIDES:
            name = f"{kind}{stride}"
            kernel = np.zeros((2 * width, 3, stride, stride), np.float32)
            constant = np.full(2, -30.0) if bias is None else np.tile(bias, 2)
            if bias is None and stride == 8:
                kernel[:] = 20 * RED[:, None, None] / stride**2
                constant = np.array([-55.0, -56.0])
            weights |= {f"w{name}": kernel, f"b{name}": constant.astype(np.float32)}
            weights[f"s{name}"] = np.array([-1, width])
            strided = {"strides": [stride] * 2, "kernel_shape": [stride] * 2}
            nodes += [
                node("Conv", ["input.1", f"w{name}", f"b{name}"], [f"c{name}"], **strided),
                node("Sigmoid" if bias is None else "Identity", [f"c{name}"], [f"a{name}"]),
                node("Transpose", [f"a{name}"], [f"t{name}"], perm=[0, 2, 3, 1]),
                node("Reshape", [f"t{name}", f"s{name}"], [name]),
            ]
            outputs.append(name)
    saved(path, nodes, weights, outputs, ["h", "w"])


def write_recogniser(path: Path) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("AveragePool", ["input.1"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "w"], ["683"]),
    ]
    saved(path, nodes, {"w": PROJECTION}, ["683"], [112, 112])


def test_onnxruntime_finds_what_the_stand_in_finds(
    runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "buffalo_l"
    pack.mkdir()
    write_detector(pack / "det_10g.onnx")
    write_recogniser(pack / "w600k_r50.onnx")
    picture = face_picture(RIGHT, LEFT)
    wanted = find_faces(picture, "buffalo_l", [tmp_path])
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)
    found = find_faces(picture, "buffalo_l", [tmp_path])
    assert len(found) == len(wanted) == 2
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.box, other.box)
        np.testing.assert_allclose(one.points, other.points)
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=1e-3, atol=1e-3)
        assert one.score > 0.9
    assert len(runtime.opened) == 2
    (pack / "w600k_r50.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"w600k_r50.onnx: cannot be read"):
        find_faces(picture, "buffalo_l", [tmp_path])
    write_recogniser(pack / "det_10g.onnx")
    write_recogniser(pack / "w600k_r50.onnx")
    with pytest.raises(ModelError, match=r"det_10g.onnx is not a face detector"):
        find_faces(picture, "buffalo_l", [tmp_path])
