"""Runs a preprocessor on a unit's picture, at the generation's size or at another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.control_pictures import ControlPicture
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.images.resize import Resize, resample, smooth
from lib_ctrlgen.request.params import Param

from .base import PoseDetector, Preprocessor

RESOLUTION = Param(
    name="resolution",
    label="Detection resolution (short side in pixels; 0: the generation's own)",
    kind="int",
    default=0,
    minimum=64,
    maximum=2048,
    step=8,
    off=0,
)
CELL = 8
WHOLE = Frame("just_resize")


def params_of(chosen: Preprocessor) -> tuple[Param, ...]:
    """A preprocessor's parameters, and `resolution` if it detects something."""
    return (*chosen.params, RESOLUTION) if chosen.detects else chosen.params


@dataclass(frozen=True)
class Detection:
    """A control map, RGB, and the pose that it shows if a pose was detected or given."""

    map: Image.Image
    pose: Pose | None = None


def detected(
    chosen: Preprocessor,
    picture: ControlPicture,
    frame: Frame,
    size: tuple[int, int],
    values: Mapping[str, Any],
) -> Image.Image:
    """The RGB control map of a picture at a size (width, height) in pixels, see `found_by`."""
    return found_by(chosen, picture, frame, size, values).map


def found_by(
    chosen: Preprocessor,
    picture: ControlPicture,
    frame: Frame,
    size: tuple[int, int],
    values: Mapping[str, Any],
    *,
    resize: Resize | None = None,
) -> Detection:
    """The control map of a picture at a size (width, height) in pixels, and the pose in it.

    The picture is fitted by the unit's resize mode (`frame`) and preprocessed at this size. With `resolution`
    it is preprocessed at another size of the same proportions, and the map is resized; a detected pose is
    drawn at this size instead. `values` are the preprocessor's parameters. A picture is resized with
    `resize`: by default as a map if the preprocessor reads one, else smoothly. A pose as the picture is moved
    instead, and drawn at the size.
    """
    own = dict(values)
    at = detection_size(size, int(own.pop(RESOLUTION.name, RESOLUTION.default)))
    if isinstance(picture, Pose):
        found = _drawn(chosen, picture.placed(frame.box(picture.size, *at), *at), own)
    else:
        how = resize or (resample if chosen.reads_map else smooth)
        found = _found(chosen, frame.fitted(picture, *at, how), own)
    if at == size:
        return found
    if found.pose is not None:
        return _drawn(chosen, replace(found.pose, width=size[0], height=size[1]), own)
    return replace(found, map=resampled(found.map, size))


def _found(chosen: Preprocessor, picture: Image.Image, values: Mapping[str, Any]) -> Detection:
    if isinstance(chosen, PoseDetector):
        return _drawn(chosen, chosen.pose(picture, **values), values)
    return Detection(chosen(picture, **values))


def _drawn(chosen: Preprocessor, pose: Pose, values: Mapping[str, Any]) -> Detection:
    if not isinstance(chosen, PoseDetector):
        raise RequestError("", f"{chosen.name!r} reads no poses: set the preprocessor 'openpose_json'")
    return Detection(chosen.drawn(pose, pose.size, **values), pose)


def resampled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A control map resized to a size (width, height) in pixels."""
    return Image.fromarray(resample(np.asarray(picture), *size))


def detection_size(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """The size at which a preprocessor runs: its short side `resolution`, in cells of 8 pixels.

    >>> detection_size((1024, 1536), 512), detection_size((512, 768), 0)
    ((512, 768), (512, 768))
    """
    if not resolution:
        return size
    width, height = (max(1, round(side * resolution / min(size) / CELL)) * CELL for side in size)
    return width, height
