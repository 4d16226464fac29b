"""The route that makes control maps, with a detector of poses."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from tests.support import fake_pose_networks as poses
from tests.support.fake_webui import fresh


class Client:
    """A request as starlette hands it over, of a client that waits for the answer."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = json.dumps(body).encode()

    async def stream(self) -> AsyncIterator[bytes]:
        yield self.body

    async def is_disconnected(self) -> bool:
        return False


@pytest.mark.usefixtures("host")
def test_detected_poses_and_a_warning_where_nobody_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", poses.FakeRuntime().module())
    (tmp_path / "ControlNetPreprocessor").mkdir()
    for name in (poses.DETECTOR, poses.WHOLE_BODY):
        (tmp_path / "ControlNetPreprocessor" / name).write_bytes(b"onnx")
    box, mark = (120, 60, 220, 360), (180, 190)
    scenes = [poses.scene(colour, box, mark) for colour in (poses.RED, None)]
    body = {"preprocessor": "dw_openpose_full", "images": [encode_image(each) for each in scenes]}
    found = asyncio.run(fresh("detect").detect(Client(body)))
    person, nobody = (pose_of(each) for each in found["poses"])
    assert (len(person.people), len(nobody.people)) == (1, 0)
    drawn = draw(person, (500, 400))
    assert decode_image(found["images"][0], "").convert("RGB").tobytes() == drawn.tobytes()
    (warning,) = found["warnings"]
    assert warning.startswith("$.images[1]: the control map has one colour: 'dw_openpose_full' finds nothing")
