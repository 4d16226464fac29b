"""The pose editor of a unit: what it begins with, and what the server says of the pose that the unit uses.

The editor itself is javascript/editors/pose.js. The field `pose` has its pose, which is the unit's picture.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from modules import devices
from modules.call_queue import queue_lock
from modules.ui_components import FormRow

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.pose_fields import HASHED, READER, UNKNOWN, concerns_poses, reads_pose, with_reader
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.images.control_pictures import pose_hash
from lib_ctrlgen.images.poses.openpose_json import read_pose, write_pose
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.settings import model_store, offloads

from .components import FileButton, UnitPanel
from .preview import error_html

FOUND = '<p class="ctrlgen-note">Nobody was found in the picture: press New pose to begin with a figure.</p>'


def build_pose(unit: UnitPanel) -> None:
    """Build the editor's buttons and area, hidden until a preprocessor is about poses."""
    unit.parts["pose_area"] = gr.Column(visible=False, elem_id=unit.elem_id("pose_area"))
    with unit.parts["pose_area"]:
        with FormRow():
            small: dict[str, Any] = {"size": "sm"}
            unit.parts["pose_edit"] = gr.Button("Edit pose", elem_id=unit.elem_id("pose_edit"), **small)
            unit.parts["pose_new"] = gr.Button("New pose", elem_id=unit.elem_id("pose_new"), **small)
            files = {"file_types": [".json"], "type": "file", "elem_id": unit.elem_id("pose_open"), **small}
            unit.parts["pose_open"] = FileButton("Open pose JSON", **files)
        unit.parts["pose_error"] = gr.HTML(elem_id=unit.elem_id("pose_error"))
        names = f'data-tab="{unit.panel.tab}" data-unit="{unit.elem_id("")[:-1]}"'
        gr.HTML(f'<div class="ctrlgen-pose ctrlgen-hidden" {names}></div>')
        unit.parts["pose_note"] = gr.HTML(elem_id=unit.elem_id("pose_note"))
    use = {"elem_id": unit.elem_id("pose_use"), "elem_classes": ["ctrlgen-hidden"]}
    unit.parts["pose_use"] = gr.Button("Use this pose", **use)


def connect_pose(unit: UnitPanel, width: Any, height: Any) -> None:
    """Connect the editor; `width` and `height` are hidden fields that the page fills with the size."""
    names, parts, tab = tuple(unit_fields()), unit.parts, unit.panel.tab

    @plain
    def edit(width: float, height: float, *values: Any) -> tuple[str, str]:
        from lib_ctrlgen.forms.map_preview import pose_in_picture

        fields, size = dict(zip(names, values, strict=True)), (int(width), int(height))

        def pose() -> Pose:
            with queue_lock:  # the WebUI's own: one generation or detection at a time
                place, away = str(devices.device), offloads()
                return pose_in_picture(fields, *size, unit.index, model_store(), place, away=away)

        return opened(pose)

    found = [parts["pose_found"], parts["pose_error"]]
    area = unit.elem_id("")[:-1]
    show = {
        "fn": None,
        "_js": f"async (text) => (await ctrlgen.poseEditor()).open('{area}', text)",
        "inputs": [parts["pose_found"]],
    }
    size = f"(...args) => ctrlgen.size('{tab}', args)"
    inputs = [width, height, *(parts[name] for name in names)]
    parts["pose_edit"].click(edit, _js=size, inputs=inputs, outputs=found).then(**show)
    parts["pose_open"].upload(read_file, inputs=[parts["pose_open"]], outputs=found).then(**show)
    parts["pose_new"].click(fn=None, _js=f"async () => (await ctrlgen.poseEditor()).begin('{area}')")
    chosen = [parts["pose"], parts["preprocessor"]]
    given = f"(pose, names) => [ctrlgenPose.text('{area}'), names]"
    parts["pose_use"].click(used, _js=given, inputs=chosen, outputs=[*chosen, parts["pose_error"]])
    said = {"inputs": chosen, "outputs": [parts["pose_area"], parts["pose_note"]], "show_progress": False}
    for each in chosen:
        each.change(noted, **said)


def opened(find: Any) -> tuple[str, str]:
    """The JSON of a pose for the editor and nothing, or nothing and why there is none, as HTML."""
    try:
        pose = find()
    except CtrlGenError as error:
        return "", error_html(error)
    return write_pose(pose), "" if pose.people or pose.animals else FOUND


@plain
def read_file(file: Any) -> tuple[str, str]:
    """The same for an uploaded file with OpenPose JSON, normalised or in pixels."""
    return opened(lambda: read_pose(Path(file.name).read_bytes()))


@plain
def used(pose: str, preprocessor: str) -> tuple[str, str, str]:
    """The pose and the preprocessor that draws it, and what is wrong with the pose, as HTML."""
    try:
        read_pose(pose)
    except CtrlGenError as error:
        return "", preprocessor, error_html(error)
    return pose, with_reader(preprocessor), ""


@plain
def noted(pose: str, preprocessor: str) -> tuple[dict[str, Any], str]:
    """Whether the editor is shown, and what is said of the pose that the unit uses, as HTML."""
    return gr.update(visible=concerns_poses(preprocessor)), pose_note(pose, preprocessor)


def pose_note(pose: str, preprocessor: str) -> str:
    """A note on the pose in a unit's field, with its hash for the page; empty without a pose."""
    if not pose:
        return ""
    if pose.startswith(HASHED):
        return error_html(UNKNOWN.format(pose=pose))
    try:
        found = read_pose(pose)
    except CtrlGenError as error:
        return error_html(error)
    if reads_pose(preprocessor):
        said = f"The unit's picture is this pose ({counted(len(found.people), len(found.animals))})."
    else:
        said = f"The edited pose is not used: only the preprocessor {READER} reads it."
    known = f'data-pose-hash="{HASHED}{pose_hash(found)}" data-pose="{escape(pose)}"'
    return f'<p class="ctrlgen-note" {known}>{said}</p>'


def counted(people: int, animals: int) -> str:
    """The numbers of people and animals in words.

    >>> counted(1, 0), counted(0, 0), counted(2, 1)
    ('1 person', 'nobody', '2 persons, 1 animal')
    """
    words = ((people, "person"), (animals, "animal"))
    return ", ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in words if n) or "nobody"
