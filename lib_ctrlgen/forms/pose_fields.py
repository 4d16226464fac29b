"""The panel's edited pose of a unit: OpenPose JSON, which is the unit's picture for `openpose_json`.

A pasted infotext has no poses: its field then holds the hash of the pose, which the page replaces by the pose
if it has shown it before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.preprocessors import PoseDetector, preprocessors
from lib_ctrlgen.request.preprocessing import SEPARATOR

from .preprocessor_fields import names_in, stage_names

READER = "openpose_json"
HASHED = "sha:"  # how a field begins that holds the hash of a pose
UNKNOWN = (
    "this browser does not have the pose of the pasted infotext ({pose}): open its JSON, or edit a pose anew"
)


def edited_pose(values: Mapping[str, Any], path: str) -> str:
    """The edited pose that is the picture of a unit; empty if there is none, or if nothing would read it.

    Raises RequestError at the unit's image for a pose of which only the hash is known.
    """
    pose = (values.get("pose") or "").strip()
    if not pose or not reads_pose(values["preprocessor"]):
        return ""
    if pose.startswith(HASHED):
        raise RequestError(f"{path}.image", UNKNOWN.format(pose=pose))
    if values.get("images"):
        raise RequestError(f"{path}.images", "the unit has an edited pose, too: remove the pose or the files")
    return str(pose)


def reads_pose(text: Any) -> bool:
    """Whether the preprocessors in the panel's field read a pose instead of a picture."""
    names = stage_names(text)
    return any(each.reads_pose and each.name in names[:1] for each in preprocessors())


def concerns_poses(text: Any) -> bool:
    """Whether one of the preprocessors in the panel's field reads or finds poses."""
    return not pose_finders().isdisjoint(stage_names(text))


def pose_finders() -> frozenset[str]:
    """The names of the preprocessors that read or find poses."""
    return frozenset(each.name for each in preprocessors() if isinstance(each, PoseDetector))


def with_reader(text: Any) -> str:
    """The panel's field for a pose that was edited: its drawing in the place of what finds poses.

    What is applied to the drawing stays; what came before is left out, because the pose was found in it.

    >>> with_reader("openpose_json | invert"), with_reader("canny")
    ('openpose_json | invert', 'openpose_json')
    """
    names, finders = stage_names(text), pose_finders()
    place = next((number for number, name in enumerate(names) if name in finders), None)
    if place is None or (place == 0 and names[0] == READER):
        return READER if place is None else str(text)
    if names_in(text):
        return f" {SEPARATOR} ".join((READER, *names[place + 1 :]))
    return json.dumps([READER, *json.loads(text)[place + 1 :]])
