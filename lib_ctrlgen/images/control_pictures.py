"""Decodes what a unit may have as its picture: a picture, or a pose in OpenPose JSON."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from PIL import Image

from lib_ctrlgen.request.notices import Notices

from .files import UNREADABLE, decode_base64, decode_bytes, image_hash, picture_file
from .poses.openpose_json import read_pose, write_pose
from .poses.pose import Pose

ControlPicture: TypeAlias = Image.Image | Pose
OPENING = ("{", "[")  # what base64, data URLs and pictures do not begin with
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decode_control_picture(text: str, path: str, notices: Notices | None = None) -> ControlPicture:
    """Decode a unit's picture: base64 or a data URL of a picture or of OpenPose JSON, or the JSON itself.

    Raises RequestError at `path`, or below it at the place in the JSON that is wrong. `notices` gets what
    `decode_image` says.
    """
    return decode_control_bytes(_data(text, path), path, UNREADABLE, notices)


def decode_control_bytes(
    data: bytes, path: str, advice: str = "", notices: Notices | None = None
) -> ControlPicture:
    """Decode the bytes of a file as `decode_control_picture` does; `advice` ends an error."""
    if is_json(data):
        return read_pose(_without_mark(data), path)
    return decode_bytes(data, path, advice, notices)


def is_json(data: bytes) -> bool:
    """Whether a file is JSON: no picture begins with a bracket."""
    return _without_mark(data)[:64].lstrip().startswith((b"{", b"["))


def control_picture_hash(text: str) -> str:
    """12 hex digits: `image_hash` of a picture in a text, or a hash of the pose's keypoints and canvas.

    Raises RequestError.
    """
    found = decode_control_picture(text, "")
    return pose_hash(found) if isinstance(found, Pose) else image_hash(found)


def pose_hash(pose: Pose) -> str:
    """The first 12 hex digits of the SHA-256 of a pose in OpenPose JSON."""
    return hashlib.sha256(write_pose(pose).encode("ascii")).hexdigest()[:12]


def control_picture_file(text: str, path: str) -> tuple[bytes, str]:
    """The bytes of the file in a text and its suffix, as `picture_file` returns them; `json` for a pose.

    Raises RequestError at `path`.
    """
    data = _data(text, path)
    return (data, "json") if is_json(data) else picture_file(text, path)


def _data(text: str, path: str) -> bytes:
    """The bytes in base64 or a data URL; of a text that is JSON itself, its own."""
    written = text[:64].lstrip().startswith(OPENING)
    return text.encode("utf-8", "replace") if written else decode_base64(text, path)


def _without_mark(data: bytes) -> bytes:
    return data.removeprefix(BYTE_ORDER_MARK)
