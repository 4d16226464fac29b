"""The REST route `/controlnet/render_openpose_json`, which draws poses."""

from __future__ import annotations

from threading import Event
from typing import Any

import msgspec
from fastapi import Request

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import MAX_PIXELS, encode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.webui.detect import apart, read_body

MOST_POSES = 64
NOTHING = {"info": "No pose data detected."}


async def render(request: Request) -> dict[str, Any]:
    """Return a PNG for each pose of a list, `{"images": [base64], "info": "Success"}`.

    People and animals are drawn. It runs outside of the event loop. Raises RequestError at the list's item.
    """
    documents = read_json(await read_body(request) or b"[]")
    if not isinstance(documents, list):
        raise RequestError("$", "expected a list of poses in OpenPose JSON")
    if not documents:
        return NOTHING
    if len(documents) > MOST_POSES:
        raise RequestError("$", f"{len(documents)} poses are more than {MOST_POSES}: send fewer at once")
    poses = [_pose(each, f"$[{number}]") for number, each in enumerate(documents)]
    images = await apart(request, lambda stopped: [_drawn(pose, stopped) for pose in poses])
    return {"images": [image for image in images if image], "info": "Success"}


def read_json(data: bytes) -> Any:
    """The JSON value of a body. Raises RequestError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError("$", f"not JSON: {error}") from error


def _pose(document: Any, path: str) -> Pose:
    pose = pose_of(document, path)
    if pose.width * pose.height > MAX_PIXELS:
        raise RequestError(path, f"a canvas of {pose.width} x {pose.height} pixels is too large to draw")
    return pose


def _drawn(pose: Pose, stopped: Event) -> str:
    return "" if stopped.is_set() else plain_base64(encode_image(draw(pose, pose.size)))


def plain_base64(url: str) -> str:
    """The base64 text of a data URL, as sd-webui-controlnet returns pictures."""
    return url.partition(",")[2]
